/**
 * Times of the page as JSON: `speed.mjs SITE SCAN...`, for `benchmarks/web.py`.
 *
 * From the drop of a file to the mask on the screen, after the page is loaded, with one thread and
 * with as many as the page takes; the longest time for which the page would not have answered; the
 * processor time of the worker, which other work on the machine adds nothing to.
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

async function measure(threaded) {
  const server = await serve(site, threaded ? ISOLATED : {})
  const browser = await start()
  const { page } = browser
  const begun = performance.now()
  await page.goto(server.url)
  await page.waitForFunction(() => document.documentElement.dataset.loaded, null, { timeout: 300_000 })
  const load = performance.now() - begun
  const { loaded, threads } = await page.evaluate(() => ({ ...document.documentElement.dataset }))
  await page.locator('#planes input[value="0"]').evaluate((one) => one.click()) // no 3-D without a graphics card
  await page.evaluate(() => {
    let last = performance.now()
    let most = 0
    setInterval(() => {
      const now = performance.now()
      most = Math.max(most, now - last - 10)
      last = now
    }, 10)
    // Counted from one step of the network to the next: reading and drawing are before and after.
    new MutationObserver(() => {
      const text = document.getElementById('work-what').textContent
      window.gap = text.startsWith('Outlining, 0') ? 0 : Math.max(window.gap, most)
      most = 0
    }).observe(document.getElementById('work-what'), { childList: true })
  })
  const times = {}
  for (const scan of scans) {
    const rounds = []
    for (let round = 0; round < ROUNDS; round++) {
      const before = workerTime()
      const start = performance.now()
      await drop(page, [scan])
      await finished(page, 600_000)
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
      const gap = await page.evaluate(() => window.gap)
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
