/** `agd-view` in a real browser: predictions over their scans, from a server for this machine. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { finished, start } from './browser.mjs'
import { root } from './sources.mjs'

const viewed = join(process.env.AGD_CASES ?? join(root, 'web/build/cases'), 'viewed')
const pictures = process.env.AGD_PICTURES ?? join(root, 'web/build/pictures')
const python = process.env.PYTHON ?? join(root, '.venv/bin/python')

let command
let browser
let page
let url

before(async () => {
  mkdirSync(pictures, { recursive: true })
  const inputs = [join(viewed, 'predictions'), join(viewed, 'scans'), '--no-browser']
  command = spawn(python, ['-m', 'agd_keras.cli.view', ...inputs], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
  url = await new Promise((done, fail) => {
    let said = ''
    command.stdout.on('data', (data) => {
      said += data
      const found = /page: (\S+)\n/.exec(said)
      if (found) done(found[1])
    })
    command.on('exit', (code) => fail(new Error(`agd-view ended with ${code}`)))
  })
  browser = await start()
  page = browser.page
  await page.goto(url)
  await finished(page)
})
after(async () => {
  await browser?.close()
  command?.kill('SIGINT')
})

test('cases are listed with their Dice, worst first, and names are text', async () => {
  const rows = await page.locator('#case-rows tr').allTextContents()
  assert.equal(rows.length, 3)
  assert.match(rows[0], /^<b onclick=alert\(1\)>bad<b>0\.\d{3}$/)
  assert.match(rows[1], /^good0\.\d{3}$/)
  assert.equal(rows[2], 'alone')
  assert.equal(await page.locator('#case-rows b').count(), 0)
})

test('layers can be switched, each with its opacity', async () => {
  assert.deepEqual(await page.locator('#layers label').allTextContents(), ['Truth', 'Prediction'])
  assert.match(await page.locator('#result').textContent(), /Dice0\.\d{3}/)
  await page.screenshot({ path: join(pictures, 'view_1280.png') })
  await page.uncheck('#layers li:nth-child(1) input[type=checkbox]')
  assert.equal(await page.isDisabled('#layers li:nth-child(1) input[type=range]'), true)
  await page.locator('#layers li:nth-child(2) input[type=range]').fill('0.9')
})

test('another case is one click away', async () => {
  await page.click('#case-rows tr:nth-child(3) button')
  await page.waitForFunction(() => document.querySelector('#result h2').textContent === 'alone')
  await finished(page)
  assert.deepEqual(await page.locator('#layers label').allTextContents(), ['Prediction'])
  assert.equal(await page.getAttribute('#case-rows tr:nth-child(3)', 'aria-current'), 'true')
  await page.setViewportSize({ width: 390, height: 844 })
  await page.waitForTimeout(300)
  await page.screenshot({ path: join(pictures, 'view_390.png'), fullPage: true })
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  assert.ok(wide <= 0)
})

test('nothing left the address with its token, and the policy held', () => {
  const foreign = browser.requests.filter((one) => !one.startsWith(url) && !/^(data|blob):/.test(one))
  assert.deepEqual(foreign, [])
  assert.deepEqual(browser.problems, [])
})
