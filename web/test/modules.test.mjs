/** What needs no browser: orientations as nibabel's, names as the package's, limits, the cut model. */

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { root, sources } from './sources.mjs'

const cases = process.env.AGD_CASES ?? join(root, 'web/build/cases')
const site = process.env.AGD_SITE ?? join(root, 'web/build/site')

test('orientations are those of nibabel, sheared axes too', () => {
  const { orientations } = JSON.parse(readFileSync(join(cases, 'cases.json')))
  for (const { affine, world, sign } of orientations) {
    assert.deepEqual(sources.orientationOf(affine), { world, sign }, JSON.stringify(affine))
  }
})

test('names tell the contrasts that the package tells', () => {
  const { names, labels } = JSON.parse(readFileSync(join(root, 'tests/data/contrasts.json')))
  for (const [name, agent, contrast] of names) {
    assert.equal(sources.contrastOf(name, agent) ?? null, contrast, `${name} (${agent})`)
  }
  for (const [name, label] of labels) assert.equal(sources.isLabel(name), label, name)
})

test('voxels go into the square stack and back', () => {
  const affine = [[0, 0, -3, 10], [-1, 0, 0, 20], [0, 2, 0, 30]]
  const view = sources.axialView([5, 4, 7], affine)
  const square = sources.squareView(view)
  const seen = new Set()
  sources.eachVoxel(view, square, (inFile, inStack) => {
    assert.ok(inFile >= 0 && inFile < 140 && inStack < view.slices * square.rows * square.columns)
    seen.add(inFile)
  })
  assert.equal(seen.size, 140)
  assert.deepEqual([view.slices, view.rows, view.columns], [4, 5, 7])
  assert.deepEqual(view.spacing, [2, 1, 3])
  assert.deepEqual([square.rows, square.columns], [21, 7]) // 5 × 1 mm by 7 × 3 mm
})

test('what is too large is refused before it is unpacked', async () => {
  for (const [name, said] of [['huge', /too many for a browser/], ['endless', /expected 1 to 2048/], ['film', /up to 16/], ['flat', /three dimensions/]]) {
    const suffix = name === 'flat' ? 'nii' : 'nii.gz'
    const file = new Blob([readFileSync(join(cases, 'bad', `${name}.${suffix}`))])
    await assert.rejects(sources.readVolume(file, name), (error) => error instanceof sources.Refusal && said.test(error.message))
  }
})

test('the model is cut into two files that hold everything', () => {
  const model = new Uint8Array(readFileSync(join(site, 'patient.onnx')))
  const { first, second } = sources.cutModel(model)
  // Weights are in both, the tables of tensors change their place only.
  for (const half of [first, second]) assert.ok(Math.abs(half.length - model.length) < 1000)
  assert.throws(() => sources.cutModel(new Uint8Array([0x3a, 0x02, 0x0a, 0x00])), /not one that agd-export wrote/)
})

test('entropy and the score of a patient', () => {
  assert.equal(sources.entropy(0.5), 1)
  assert.equal(sources.entropy(0), 0)
  assert.equal(sources.scoreOf(Float32Array.of(0.5, 1, 1, 0), 1, 4, 0.5), 0.25)
  assert.equal(sources.scoreOf(Float32Array.of(0.25, 0.1), 1, 2, 0.5), sources.entropy(0.25))
  // Five columns away counts, six do not.
  const line = new Float32Array(14)
  line[0] = 1
  line[5] = line[6] = 0.25
  assert.equal(sources.scoreOf(line, 1, 14, 0.5), sources.entropy(0.25) / 6)
})

test('hundredths are exact at every threshold of the slider', () => {
  const steps = Array.from({ length: 101 }, (_, step) => Math.fround(step / 100))
  const below = steps.map((step) => Math.fround(step - 2e-7 * Math.max(step, 1e-3)))
  assert.deepEqual([...sources.hundredths(Float32Array.from(steps))], steps.map((_, i) => i))
  assert.deepEqual([...sources.hundredths(Float32Array.from(below.slice(1)))], steps.slice(0, 100).map((_, i) => i))
})

test('grey levels keep order, and few bright voxels do not darken the rest', () => {
  const values = Float32Array.from({ length: 1000 }, (_, i) => i)
  values[999] = 1e6
  values[0] = NaN
  const grey = sources.shade(values)
  assert.equal(grey[0], 0)
  assert.equal(grey[999], 255)
  assert.ok(grey.slice(1).every((level, i) => i === 0 || level >= grey[i]))
  assert.deepEqual([...sources.shade(new Float32Array([3, 3]))], [0, 0])
  const ramp = sources.shade(Float32Array.from({ length: 10_000 }, (_, i) => i - 500))
  assert.equal(ramp[0], 0)
  assert.ok(Math.abs(ramp[5000] - 128) <= 1 && ramp[9900] < 255 && ramp[9960] === 255)
})
