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
  registration: { unregister(): Promise<boolean> }
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

let gone = false // another site has taken this address

scope.addEventListener('fetch', (event) => {
  const { request } = event
  const { origin, pathname } = new URL(request.url)
  if (gone || request.method !== 'GET' || origin !== scope.location.origin) return
  const home = new URL('./', scope.location.href).pathname
  const name = pathname === home ? './' : pathname.slice(home.length)
  if (pathname.startsWith(home) && FILES.includes(name)) {
    event.respondWith(name === './' || name === 'index.html' ? page(request) : file(request))
  }
})

async function kept(name: Request | string): Promise<Response | undefined> {
  return (await caches.open(NAME)).match(name, { ignoreSearch: true })
}

async function file(request: Request): Promise<Response> {
  return isolate((await kept(request)) ?? (await fetch(request)))
}

/** The page as it was kept, unless there is another one at its address now. */
async function page(request: Request): Promise<Response> {
  const own = await kept('./')
  const fresh = await fetch(request).catch(() => undefined)
  if (!own) return fresh ?? Response.error()
  if (!fresh || (fresh.ok && (await fresh.clone().text()) === (await own.clone().text()))) return isolate(own)
  gone = true
  await scope.registration.unregister()
  return fresh
}

function isolate(found: Response): Response {
  const headers = new Headers(found.headers)
  headers.set('Cross-Origin-Opener-Policy', 'same-origin')
  headers.set('Cross-Origin-Embedder-Policy', 'require-corp')
  headers.set('Cross-Origin-Resource-Policy', 'same-origin')
  return new Response(found.body, { status: found.status, statusText: found.statusText, headers })
}

export {}
