/**
 * Keeps the page for visits without a network, and isolates it, so that threads are allowed.
 *
 * `agd-export` writes the list of files and a sum over them in place of the two constants: another
 * export is another sum, and takes the place of the one before.
 */

interface Waits extends Event {
  waitUntil(promise: Promise<unknown>): void
}
interface Fetches extends Waits {
  request: Request
  respondWith(answer: Promise<Response>): void
}
interface Scope {
  addEventListener(type: 'install' | 'activate', listen: (event: Waits) => void): void
  addEventListener(type: 'fetch', listen: (event: Fetches) => void): void
  skipWaiting(): Promise<void>
  clients: { claim(): Promise<void> }
  location: Location
}
const scope = self as unknown as Scope

const VERSION: string = '__VERSION__'
const FILES: string[] = '__FILES__'.split('|')
const NAME = `agd-${VERSION}`

scope.addEventListener('install', (event) => {
  const keep = async () => {
    const cache = await caches.open(NAME)
    await cache.addAll(FILES.map((file) => new Request(file, { cache: 'no-cache' })))
    await scope.skipWaiting()
  }
  event.waitUntil(keep())
})

scope.addEventListener('activate', (event) => {
  const tidy = async () => {
    for (const name of await caches.keys()) if (name.startsWith('agd-') && name !== NAME) await caches.delete(name)
    await scope.clients.claim()
  }
  event.waitUntil(tidy())
})

scope.addEventListener('fetch', (event) => {
  const { request } = event
  if (request.method !== 'GET' || new URL(request.url).origin !== scope.location.origin) return
  event.respondWith(answer(request))
})

async function answer(request: Request): Promise<Response> {
  const asked = request.mode === 'navigate' ? './' : request
  const kept = await (await caches.open(NAME)).match(asked, { ignoreSearch: true })
  const found = kept ?? (await fetch(request))
  const headers = new Headers(found.headers)
  headers.set('Cross-Origin-Opener-Policy', 'same-origin')
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp')
  headers.set('Cross-Origin-Resource-Policy', 'same-origin')
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers })
}

export {}
