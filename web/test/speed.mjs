/**
 * Times of the page as JSON: `speed.mjs SITE SCAN...`, for `benchmarks/web.py`.
 *
 * From the drop of a file to the mask on the screen, after the page is loaded, with one thread and
 * with as many as the page takes. Other work on the machine adds nothing to processor times: that of
 * the worker, and of the longest task of the page's own thread, for which it would not have answered.
 */

import { readFileSync, readdirSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { drop, finished, serve, start } from './browser.mjs'

const [site, ...scans] = process.argv.slice(2)
const ROUNDS = Number(process.env.ROUNDS ?? 3)
const ISOLATED = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }

/** Processor time of all workers of the browsers that this process started, in ms. */
function workerTime() {
  let ticks = 0
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('type=renderer')) continue
      for (const task of readdirSync(`/proc/${pid}/task`)) {
        const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, 'latin1')
        if (!stat.includes('(DedicatedWorker')) continue
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        ticks += Number(fields[11]) + Number(fields[12])
      }
    } catch {
      // ended meanwhile
    }
  }
  return ticks * 10
}

/** Notes what the page's main thread does; returns a function for its longest task, in ms of its own processor time. */
async function trace(context, page) {
  const session = await context.newCDPSession(page)
  const events = []
  session.on('Tracing.dataCollected', ({ value }) => events.push(...value))
  const categories = 'toplevel,disabled-by-default-devtools.timeline,__metadata'
  await session.send('Tracing.start', { categories, transferMode: 'ReportEvents' })
  return async () => {
    const complete = new Promise((done) => session.once('Tracing.tracingComplete', done))
    await session.send('Tracing.end')
    await complete
    await session.detach()
    const mains = new Set(events.filter((one) => one.name === 'thread_name' && one.args.name === 'CrRendererMain').map((one) => one.tid))
    const tasks = events.filter((one) => mains.has(one.tid) && one.ph === 'X' && one.name.includes('RunTask'))
    return Math.max(...tasks.map((one) => one.tdur ?? 0)) / 1000
  }
}

async function measure(threaded) {
  const server = await serve(site, threaded ? ISOLATED : {})
  const browser = await start()
  const { page, context } = browser
  const begun = performance.now()
  await page.goto(server.url)
  await page.waitForFunction(() => document.documentElement.dataset.loaded, null, { timeout: 300_000 })
  const load = performance.now() - begun
  const { loaded, threads } = await page.evaluate(() => ({ ...document.documentElement.dataset }))
  await page.locator('#planes input[value="0"]').evaluate((one) => one.click()) // no 3-D without a graphics card
  const times = {}
  for (const scan of scans) {
    const rounds = []
    for (let round = 0; round < ROUNDS; round++) {
      const longest = await trace(context, page)
      const before = workerTime()
      const start = performance.now()
      await drop(page, [scan])
      await finished(page, 600_000)
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
      const gap = await longest()
      const network = Number(await page.evaluate(() => document.documentElement.dataset.ms))
      rounds.push({ total: performance.now() - start, network, gap, worker: workerTime() - before })
    }
    times[basename(scan)] = Object.fromEntries(['total', 'network', 'gap', 'worker'].map((key) => [key, Math.min(...rounds.map((one) => one[key]))]))
  }
  await browser.close()
  await server.close()
  return { threads: Number(threads), load, session: Number(loaded), times }
}

const bytes = Object.fromEntries(readdirSync(site).map((name) => [name, statSync(join(site, name)).size]))
console.log(JSON.stringify({ bytes, runs: [await measure(false), await measure(true)] }))
