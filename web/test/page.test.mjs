/** The page in a real browser, against what the package finds in the same files. */

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { drop, finished, serve, start } from './browser.mjs'
import { root, sources } from './sources.mjs'

const cases = process.env.AGD_CASES ?? join(root, 'web/build/cases')
const site = process.env.AGD_SITE ?? join(root, 'web/build/site')
const pictures = process.env.AGD_PICTURES ?? join(root, 'web/build/pictures')
const { cases: listed } = JSON.parse(readFileSync(join(cases, 'cases.json')))
const bad = (name) => join(cases, 'bad', name)

let server
let browser
let page

before(async () => {
  mkdirSync(pictures, { recursive: true })
  server = await serve(site)
  browser = await start()
  page = browser.page
  await page.goto(server.url)
  await loaded()
  await page.locator('#planes input[value="0"]').evaluate((one) => one.click()) // 3-D is slow without a graphics card
})
after(async () => {
  await browser?.close()
  await server?.close()
})

const loaded = () => page.waitForFunction(() => document.documentElement.dataset.loaded, null, { timeout: 120_000 })
const text = (id) => page.locator(`#${id}`).textContent()

/** Values and affine of a NIfTI file on disk. */
async function read(path) {
  const volume = await sources.readVolume(new Blob([readFileSync(path)]), path)
  return { values: sources.readChannel(volume, 0), affine: volume.affine, dims: volume.dims }
}

async function saved(kind) {
  const [download] = await Promise.all([page.waitForEvent('download'), page.click(`#save-${kind}`)])
  return { ...(await read(await download.path())), name: download.suggestedFilename() }
}

async function outline(name) {
  await drop(page, listed[name].files.map((file) => join(cases, file)))
  await finished(page)
  assert.equal(await page.locator('#told').isVisible(), false)
}

/** At most one voxel in 10,000 may differ, and only where the probability is at the threshold. */
function assertSame(mask, expected, probability) {
  let different = 0
  for (let i = 0; i < expected.length; i++) {
    if (mask[i] !== expected[i]) {
      different += 1
      assert.ok(Math.abs(probability[i] - 0.5) < 1e-4, `a voxel of probability ${probability[i]}`)
    }
  }
  assert.ok(different <= expected.length / 1e4, `${different} of ${expected.length} voxels differ`)
}

for (const [name, one] of Object.entries(listed).filter(([, one]) => !one.dicom)) {
  test(`${name}: the package's mask, voxel for voxel`, async () => {
    await outline(name)
    const [mask, probability] = [await saved('mask'), await saved('probability')]
    const expected = await read(join(cases, 'expected', `${name}.nii`))
    const exact = await read(join(cases, 'expected', `${name}_probability.nii`))
    assert.deepEqual(mask.dims, expected.dims)
    mask.affine.flat().forEach((value, i) => assert.ok(Math.abs(value - expected.affine.flat()[i]) < 1e-3))
    assertSame(mask.values, expected.values, exact.values)
    const far = probability.values.reduce((most, value, i) => Math.max(most, Math.abs(value - exact.values[i])), 0)
    assert.ok(far < 1e-4, `probabilities differ by ${far}`)
    assert.equal(await text('slices-with'), `${one.slices_with_tumour} of ${one.slices}`)
    assert.ok(Math.abs(Number(await text('volume')) - one.volume_mm3 / 1000) < 0.06)
  })
}

test('DICOM of three series: the mask at the same places in space', async () => {
  await outline('dicom')
  const [mask, expected] = [await saved('mask'), await read(join(cases, 'expected', 'dicom.nii'))]
  const inverse = invert(expected.affine)
  let inside = 0
  let different = 0
  mask.values.forEach((value, i) => {
    const at = [i % mask.dims[0], Math.floor(i / mask.dims[0]) % mask.dims[1], Math.floor(i / (mask.dims[0] * mask.dims[1]))]
    const [x, y, z] = apply(inverse, apply(mask.affine, at)).map(Math.round)
    const there = expected.values[x + expected.dims[0] * (y + expected.dims[1] * z)]
    inside += value
    if (value !== there) different += 1
  })
  assert.ok(inside > 100 && different <= mask.values.length / 1e4, `${different} of ${mask.values.length} differ, ${inside} inside`)
  const names = await page.locator('#rows .name').allTextContents()
  assert.deepEqual(names.sort(), ['AX T1', 'AX T1 POST', 'AX T2 FLAIR'])
})

test('uncertainty by the mirrored head is that of the package', async () => {
  await page.check('#flips')
  await outline('axes_RAS')
  assert.equal(await text('score'), `${listed.axes_RAS.score.toFixed(2)} of 1`)
  assert.deepEqual(await page.locator('#layers label').allTextContents(), ['Tumour', 'Probability', 'Uncertainty'])
  await page.uncheck('#flips')
})

test('the threshold moves volume and mask', async () => {
  await outline('axes_LPS')
  const whole = Number(await text('volume'))
  await page.locator('#threshold').fill('0.9')
  const core = Number(await text('volume'))
  assert.ok(core < whole)
  const { values } = await read(join(cases, 'expected', 'axes_LPS_probability.nii'))
  const limit = Math.fround(0.9)
  const expected = values.filter((p) => p >= limit).length
  const { values: mask } = await saved('mask')
  assert.ok(Math.abs(mask.reduce((sum, one) => sum + one, 0) - expected) <= 2)
  await page.locator('#threshold').fill('0.5')
})

const SENTENCES = {
  'cut.nii.gz': /cut short|unpacked/,
  'short.nii': /cut short/,
  'text.nii.gz': /no NIfTI|too short/,
  'empty.nii': /too short/,
  'picture.png': /flat picture/,
  'huge.nii.gz': /too many for a browser/,
  'endless.nii.gz': /expected 1 to 2048/,
  'film.nii.gz': /up to 16 contrasts/,
  'flat.nii': /three dimensions/,
  'nowhere.nii': /where the voxels lie/,
  damaged: /damaged|no image/,
}
for (const [name, said] of Object.entries(SENTENCES)) {
  test(`${name}: one sentence, and the page goes on`, async () => {
    await drop(page, [bad(name)])
    await page.waitForFunction(() => !document.getElementById('told').hidden, null, { timeout: 60_000 })
    const sentences = await page.locator('#told p').allTextContents()
    assert.equal(sentences.length, 1)
    assert.match(sentences[0], said)
    assert.ok(sentences[0].length < 220 && !sentences[0].includes('\n'))
  })
}

test('after all of these the next scan is outlined', () => outline('flair_alone'))

test('a file that cannot be read among others that can is told, and those are outlined', async () => {
  const sound = listed.brats.files.filter((file) => /_flair/.test(file)).map((file) => join(cases, file))
  await drop(page, [...sound, bad('text.nii.gz')])
  await finished(page)
  const sentences = await page.locator('#told p').allTextContents()
  assert.equal(sentences.length, 1)
  assert.match(sentences[0], /^text\.nii\.gz: /)
})

test('what no name tells is asked, and two of a kind are', async () => {
  const [t1, flair] = ['t1', 'flair'].map((name) => readFileSync(join(cases, 'scans/brats', `BraTS_007_${name}.nii.gz`)))
  const files = [
    { name: 'first.nii.gz', mimeType: '', buffer: t1 },
    { name: 'second.nii.gz', mimeType: '', buffer: flair },
  ]
  await page.setInputFiles('#files-in', files)
  await page.waitForSelector('body[data-state="chosen"]')
  assert.match(await text('told'), /Which scan is the FLAIR/)
  assert.equal(await page.isDisabled('#go'), true)
  await page.locator('#rows select').nth(1).selectOption('FLAIR')
  await page.locator('#rows select').nth(0).selectOption('FLAIR')
  assert.match(await text('told'), /Two scans are FLAIR/)
  await page.locator('#rows select').nth(0).selectOption('T1')
  await page.click('#go')
  await finished(page)
  assert.match(await text('notes'), /FLAIR stands in for T1c/)
})

test('a name with HTML in it is text', async () => {
  const buffer = readFileSync(join(cases, 'scans/flair_alone/head_flair.nii'))
  await page.setInputFiles('#files-in', [{ name: '<img src=x onerror=alert(1)>_flair.nii', mimeType: '', buffer }])
  await finished(page)
  assert.equal(await page.locator('#rows img').count(), 0)
  assert.match(await text('rows'), /<img src=x/)
  await page.setInputFiles('#files-in', [{ name: '<b>bold<b>.txt', mimeType: '', buffer: Buffer.from('x'.repeat(900)) }])
  await page.waitForFunction(() => !document.getElementById('told').hidden)
  assert.match(await text('told'), /<b>bold<b>/)
})

test('work can be cancelled', async () => {
  await page.setInputFiles('#files-in', listed.axes_ILP.files.map((file) => join(cases, file)))
  // From within the page: by the time that a pointer is there, it may be done.
  const cancelled = () => {
    const begun = document.getElementById('work-what').textContent.startsWith('Outlining')
    if (begun) document.getElementById('cancel').click()
    return begun
  }
  await page.waitForFunction(cancelled, null, { polling: 5 })
  assert.equal(await page.locator('#work').isVisible(), false)
  assert.equal(await page.locator('body').getAttribute('data-state'), 'chosen')
  await page.click('#go')
  await finished(page)
})

test('by keyboard alone, with names for who listens', async () => {
  await outline('axes_RAS')
  const before = await text('slice-out')
  await page.focus('#canvas')
  await page.keyboard.press('PageUp')
  assert.notEqual(await text('slice-out'), before)
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll('button, input:not([hidden]), select, canvas')]
      .filter((one) => one.checkVisibility())
      .filter((one) => !(one.labels?.length || one.textContent.trim() || one.getAttribute('aria-label') || one.getAttribute('aria-labelledby')))
      .map((one) => one.outerHTML),
  )
  assert.deepEqual(nameless, [])
  assert.match(await page.getAttribute('#canvas', 'aria-label'), /ml of tumour/)
  assert.match(await text('status'), /Done: .* ml of tumour/)
})

test('the model card opens, in place', async () => {
  await page.click('#card-open')
  await page.waitForSelector('#card[open]')
  assert.match(await text('card-text'), /not be used for diagnosis/)
  await page.keyboard.press('Escape')
})

test('screenshots of the states', async () => {
  await page.locator('#planes input[value="3"]').evaluate((one) => one.click())
  for (const [width, height] of [[1280, 800], [390, 844]]) {
    for (const theme of ['light', 'dark']) {
      await page.setViewportSize({ width, height })
      await page.evaluate((name) => (document.documentElement.dataset.theme = name), theme)
      const keep = (name) => page.screenshot({ path: join(pictures, `${name}_${width}_${theme}.png`), fullPage: width < 800 })
      if (await page.isVisible('#again')) await page.click('#again')
      await keep('empty')
      await page.click('#example')
      await page.waitForFunction(() => /^Outlining, [3-9]/.test(document.getElementById('work-what').textContent), null, { polling: 20 })
      await keep('working')
      await finished(page)
      await page.waitForTimeout(500)
      await keep('done')
      await drop(page, [bad('picture.png')])
      await page.waitForFunction(() => !document.getElementById('told').hidden)
      await keep('refused')
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      assert.ok(wide <= 0, `${wide} pixels to the side at ${width}`)
      await outline('flair_alone')
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 })
})

test('nothing was asked of another origin, and the policy held', () => {
  const foreign = browser.requests.filter((url) => !url.startsWith(server.url) && !/^(data|blob):/.test(url))
  assert.deepEqual(foreign, [])
  assert.ok(browser.requests.length > 10)
  assert.deepEqual(browser.problems, [])
})

test('the policy allows no other origin', async () => {
  const refused = await page.evaluate(() => fetch('http://127.0.0.1:9/').then(() => false, () => true))
  assert.ok(refused)
  assert.match(await page.getAttribute('meta[http-equiv]', 'content'), /connect-src 'self'/)
})

test('the second visit needs no network, and may use threads', async () => {
  await page.evaluate(() => navigator.serviceWorker.ready)
  await server.close()
  await page.goto(server.url)
  await loaded()
  assert.equal(await page.evaluate(() => crossOriginIsolated), true)
  await outline('axes_LPS')
  const { values } = await saved('mask')
  const expected = await read(join(cases, 'expected', 'axes_LPS.nii'))
  const exact = await read(join(cases, 'expected', 'axes_LPS_probability.nii'))
  assertSame(values, expected.values, exact.values)
})

test('another site at the same address is not kept from its visitors', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'agd-other-'))
  writeFileSync(join(folder, 'index.html'), '<h1>Another site</h1><script src="page.js"></script>')
  writeFileSync(join(folder, 'page.js'), 'document.title = "theirs"')
  const other = await serve(folder, {}, Number(new URL(server.url).port))
  await page.goto(server.url)
  assert.equal(await page.locator('h1').textContent(), 'Another site')
  assert.equal(await page.title(), 'theirs')
  await other.close()
})

function apply(affine, at) {
  return affine.map((row) => row[3] + row[0] * at[0] + row[1] * at[1] + row[2] * at[2])
}

function invert(affine) {
  const [[a, b, c, x], [d, e, f, y], [g, h, i, z]] = affine
  const size = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
  const turn = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((value) => value / size))
  return turn.map((row) => [...row, -(row[0] * x + row[1] * y + row[2] * z)])
}
