/** A server of files as any host has one, and Debian's Chromium. */

import { createReadStream, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { extname, join, normalize } from 'node:path'
import { chromium } from 'playwright-core'

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.wasm': 'application/wasm', '.json': 'application/json' }
const FLAGS = [
  ...['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  ...['--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist'],
]

/** Serves a folder on this machine, on a free port if none is given. */
export async function serve(folder, headers = {}, port = 0) {
  let sent = 0
  const server = createServer((request, response) => {
    const path = join(folder, normalize(decodeURIComponent(new URL(request.url, 'http://x').pathname)))
    const file = existsSync(path) && statSync(path).isDirectory() ? join(path, 'index.html') : path
    if (!existsSync(file)) return response.writeHead(404, headers).end('not found')
    const { size } = statSync(file)
    sent += size
    response.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream', 'Content-Length': size, ...headers })
    createReadStream(file).pipe(response)
  })
  await new Promise((done) => server.listen(port, '127.0.0.1', done))
  const close = () => new Promise((done) => (server.closeAllConnections(), server.close(done)))
  return { url: `http://127.0.0.1:${server.address().port}/`, close, sent: () => sent }
}

/** A browser with an empty profile, in which every request is noted. */
export async function start(options = {}) {
  const profile = mkdtempSync(join(tmpdir(), 'agd-chromium-'))
  const context = await chromium.launchPersistentContext(profile, {
    ...{ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS },
    ...{ viewport: { width: 1280, height: 800 }, acceptDownloads: true, serviceWorkers: 'allow', ...options },
  })
  const requests = []
  const problems = [] // what the console complains of, violations of the policy among them
  context.on('request', (request) => requests.push(request.url()))
  context.on('console', (message) => message.type() === 'error' && problems.push(message.text()))
  context.on('weberror', (error) => problems.push(String(error.error())))
  const close = async () => {
    await context.close()
    rmSync(profile, { recursive: true, force: true })
  }
  return { context, requests, problems, close, page: context.pages()[0] ?? (await context.newPage()) }
}

/** Drops files (paths) on the page, as a person would. */
export async function drop(page, paths) {
  await page.setInputFiles('#files-in', paths)
}

/** Waits until the tumour is on the screen. */
export async function finished(page, timeout = 120_000) {
  await page.waitForFunction(() => document.body.dataset.state === 'done' && document.getElementById('work').hidden, null, { timeout })
}
