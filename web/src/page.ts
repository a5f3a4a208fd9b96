/** The page: takes scans, shows what the worker found in them, or the cases of a server. */

import { renderCard } from './card.js'
import { openCases } from './cases.js'
import { CHANNELS, type Contrast } from './contrast.js'
import { readDicom } from './dicom.js'
import { $, announce, state, tell } from './dom.js'
import { filesOf, sortFiles } from './files.js'
import { drawLayers } from './layers.js'
import type { Chosen, Found, FromWorker, Row, ToWorker } from './messages.js'
import { type Volume, headerOnly, writeNifti } from './nifti.js'
import { measure } from './measure.js'
import { Refusal, sentenceOf } from './refusal.js'
import { Viewer } from './viewer.js'

const canvas = $<HTMLCanvasElement>('canvas')
const slice = $<HTMLInputElement>('slice')
const viewer = new Viewer(canvas, (place, slices) => {
  slice.max = String(slices)
  slice.value = String(place)
  $('slice-out').textContent = `${place} of ${slices}`
})
const started = viewer.start()

let worker: Worker | undefined
let job = 0
let rows: Row[] = []
let found: (Found & { volume: Volume; stem: string }) | undefined
let drawing: Promise<void> = Promise.resolve() // of the scan, before its layers
let threshold = 0.5
const HALF_STEP = 0.005 // layers come in hundredths, of which those from the threshold on are shown

// ---- Light or dark, planes, slices: in both uses of the page.

const theme = $<HTMLButtonElement>('theme')
const root = document.documentElement
const dark = () => matchMedia('(prefers-color-scheme: dark)').matches
root.dataset.theme = stored('theme') ?? (dark() ? 'dark' : 'light')
theme.onclick = () => {
  root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark'
  try {
    localStorage.setItem('theme', root.dataset.theme)
  } catch {
    // kept for this visit only
  }
}
function stored(key: string): string | undefined {
  try {
    return localStorage.getItem(key) ?? undefined
  } catch {
    return undefined
  }
}

for (const input of $('planes').querySelectorAll('input')) {
  input.onchange = () => viewer.setPlanes(Number(input.value))
}
slice.oninput = () => viewer.setSlice(Number(slice.value))
const STEPS: Record<string, [number, number, number]> = {
  ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], // on the screen, which shows the patient's right on the left
  ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
  PageUp: [0, 0, 1], PageDown: [0, 0, -1],
}
canvas.addEventListener('keydown', (event) => {
  const step = STEPS[event.key]
  if (!step || !viewer.ready) return
  event.preventDefault()
  viewer.move(...step)
})

$('card-open').onclick = async () => {
  const answer = await fetch('MODEL_CARD.md').catch(() => undefined)
  const text = answer?.ok ? await answer.text() : ''
  $('card-text').replaceChildren(...renderCard(text || 'There is no model card here.'))
  $<HTMLDialogElement>('card').showModal()
}

// ---- The worker.

function toWorker(message: ToWorker): void {
  if (!worker) {
    worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' })
    worker.onmessage = ({ data }: MessageEvent<FromWorker>) => hear(data)
    worker.onerror = (event) => {
      event.preventDefault()
      endWorker()
      fail(new Error(event.message || 'the worker stopped'))
    }
  }
  worker.postMessage(message)
}

function hear(message: FromWorker): void {
  if (message.type === 'ready') {
    root.dataset.loaded = String(Math.round(message.ms))
    root.dataset.threads = String(message.threads)
    return
  }
  if (message.job !== job) return // of a scan that is gone
  if (message.type === 'opened') choose(message.rows, message.refused)
  else if (message.type === 'scan') {
    canvas.setAttribute('aria-label', `${message.name}, in three planes`)
    drawing = started.then(() => viewer.setScan(message.bytes)).catch(fail)
  } else if (message.type === 'progress') {
    working(`Outlining, ${Math.round(100 * message.share)} %`, message.share)
  } else if (message.type === 'done') void show(message)
  else if (message.type === 'cancelled') rest('Cancelled.')
  else {
    if (message.broken) endWorker()
    fail(new Refusal(message.reason))
  }
}

/** Ends the worker and forgets what it had read; the next scan gets another one. */
function endWorker(): void {
  worker?.terminate()
  worker = undefined
  rows = []
  found = undefined
}

function working(what: string, share?: number): void {
  $('work').hidden = false
  $('work-what').textContent = what
  const bar = $<HTMLProgressElement>('work-bar')
  if (share === undefined) bar.removeAttribute('value')
  else bar.value = share
}

function fail(error: unknown): void {
  $('work').hidden = true
  if (!rows.length) state('empty')
  else state(found ? 'done' : 'chosen')
  tell(sentenceOf(error))
}

function rest(said: string): void {
  $('work').hidden = true
  state(rows.length ? (found ? 'done' : 'chosen') : 'empty')
  announce(said)
}

// ---- From files to contrasts.

async function open(files: File[]): Promise<void> {
  job += 1
  const own = job
  tell()
  rows = []
  found = undefined
  for (const id of ['result', 'display', 'sources', 'save']) $(id).hidden = true
  $('speed').textContent = ''
  state('working')
  working('Reading')
  announce('Reading the scan.')
  try {
    const given = await sortFiles(files)
    const series = given.dicom.length ? await readDicom(given.dicom) : []
    if (own !== job) return
    const message: ToWorker = {
      ...{ type: 'open', job, files: [...given.nifti, ...series.map((one) => one.file)] },
      names: [...given.nifti.map((file) => file.name), ...series.map((one) => one.name)],
      hints: [...given.nifti.map((file) => file.name.replace(/\.nii(\.gz)?$/i, '')), ...series.map((one) => one.hint)],
      agents: [...given.nifti.map(() => ''), ...series.map((one) => one.agent)],
    }
    toWorker(message)
  } catch (error) {
    if (own === job) fail(error)
  }
}

/** Shows what was recognised; goes on where nothing is open. */
function choose(recognised: Row[], refused: string[]): void {
  rows = recognised
  const list = $('rows')
  list.replaceChildren(
    ...rows.map((row, place) => {
      const item = document.createElement('li')
      const name = document.createElement('span')
      name.className = 'name'
      name.id = `row-${place}`
      name.textContent = row.name
      const size = document.createElement('small')
      size.textContent = [row.size, row.told].filter(Boolean).join(' · ')
      const select = document.createElement('select')
      select.setAttribute('aria-labelledby', name.id)
      for (const [value, text] of [['', 'not used'], ...CHANNELS.map((one) => [one, one])]) select.add(new Option(text, value))
      select.value = row.contrast ?? ''
      select.onchange = () => {
        row.contrast = (select.value || undefined) as Contrast | undefined
        settle()
      }
      item.append(name, size, select)
      return item
    }),
  )
  $('sources').hidden = false
  if (settle(refused)) segment()
  else {
    $('work').hidden = true
    state('chosen')
    announce('Say which scan is which.')
  }
}

/** Whether one FLAIR and at most one of each other contrast are chosen; says what was refused and what is open. */
function settle(refused: string[] = []): boolean {
  const twice = CHANNELS.find((one) => rows.filter((row) => row.contrast === one).length > 1)
  const flair = rows.some((row) => row.contrast === 'FLAIR')
  const open = twice ? `Two scans are ${twice}: choose one.` : flair ? '' : 'Which scan is the FLAIR? Its name does not tell. Choose it below.'
  tell(...refused, open)
  $<HTMLButtonElement>('go').disabled = Boolean(open)
  return !open
}

function segment(): void {
  job += 1
  const chosen: Chosen = {}
  for (const row of rows) if (row.contrast) chosen[row.contrast] = { file: row.file, channel: row.channel }
  found = undefined
  for (const id of ['result', 'display', 'save']) $(id).hidden = true
  state('working')
  working('Loading the network')
  announce('Outlining the tumour.')
  $('go').textContent = 'Outline again'
  toWorker({ type: 'segment', job, chosen, flips: $<HTMLInputElement>('flips').checked, threshold })
}

// ---- What was found.

async function show(done: Found): Promise<void> {
  const own = job
  const volume = headerOnly(done.place.name, done.header, done.place.dims, done.place.affine)
  await drawing
  if (own !== job) return
  try {
    const { probability, doubt } = done.layers
    await viewer.setLayer('Tumour', 'prediction', probability, threshold - HALF_STEP, true)
    await viewer.setLayer('Probability', 'probability', probability, 0.02, false)
    if (doubt) await viewer.setLayer('Uncertainty', 'uncertainty', doubt, 0.05, false)
  } catch (error) {
    return fail(error)
  }
  const stem = /\.nii/i.test(done.place.name) ? done.place.name.replace(/\.nii(\.gz)?$/i, '') : 'scan'
  found = { ...done, volume, stem }
  drawLayers(viewer)
  $('notes').replaceChildren(...done.notes.map((note) => Object.assign(document.createElement('li'), { textContent: note })))
  $('score-row').hidden = done.score === undefined
  if (done.score !== undefined) $('score').textContent = `${done.score.toFixed(2)} of 1`
  $('speed').textContent = `${done.view.slices} slices in ${(done.ms / 1000).toFixed(1)} s`
  root.dataset.ms = String(Math.round(done.ms))
  for (const id of ['result', 'display', 'save']) $(id).hidden = false
  $('work').hidden = true
  state('done')
  const { place } = readOut()
  if (place) viewer.goTo(place)
  announce(`Done: ${$('volume').textContent} ml of tumour in ${$('slices-with').textContent} slices.`)
}

/** Volume and slices at the threshold that is set. */
function readOut() {
  if (!found) return {}
  const { voxels, slices, place } = measure(found.probability, found.view, found.volume, threshold)
  const ml = voxels * found.voxelMl
  $('volume').textContent = ml === 0 ? '0' : ml < 10 ? ml.toFixed(2) : ml.toFixed(1)
  $('slices-with').textContent = `${slices} of ${found.view.slices}`
  canvas.setAttribute('aria-label', `${found.volume.name}: ${$('volume').textContent} ml of tumour, in three planes`)
  return { place }
}

const slider = $<HTMLInputElement>('threshold')
function setThreshold(value: number): void {
  threshold = value
  slider.value = String(value)
  $('threshold-out').textContent = `${Math.round(100 * value)} %`
}
slider.oninput = () => {
  setThreshold(Number(slider.value))
  viewer.change('Tumour', { bottom: threshold - HALF_STEP })
  readOut()
}

async function save(kind: 'mask' | 'probability'): Promise<void> {
  if (!found) return
  const limit = Math.fround(threshold)
  const values = kind === 'mask' ? Uint8Array.from(found.probability, (p) => (p >= limit ? 1 : 0)) : found.probability
  const plain = new Blob([writeNifti(found.volume, values)])
  const packed = await new Response(plain.stream().pipeThrough(new CompressionStream('gzip'))).blob()
  const link = document.createElement('a')
  link.href = URL.createObjectURL(packed)
  link.download = `${found.stem}_${kind}.nii.gz`
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}
$('save-mask').onclick = () => save('mask')
$('save-probability').onclick = () => save('probability')

// ---- Start.

function startSegmenting(): void {
  const filesIn = $<HTMLInputElement>('files-in')
  const folderIn = $<HTMLInputElement>('folder-in')
  for (const input of [filesIn, folderIn]) {
    input.onchange = () => {
      const files = [...(input.files ?? [])]
      input.value = ''
      if (files.length) void open(files)
    }
  }
  $('choose').onclick = () => filesIn.click()
  $('choose-folder').onclick = () => folderIn.click()
  $('again').onclick = () => {
    job += 1
    toWorker({ type: 'cancel' })
    rows = []
    found = undefined
    tell()
    $('work').hidden = true
    $('speed').textContent = ''
    state('empty')
    $('choose').focus()
  }
  $('example').onclick = async () => {
    const answer = await fetch('example.nii.gz')
    if (answer.ok) await open([new File([await answer.blob()], 'example.nii.gz')])
    else fail(new Refusal('No example lies beside this page.'))
  }
  $('go').onclick = segment
  $('cancel').onclick = () => {
    toWorker({ type: 'cancel' })
    job += 1
    rest('Cancelled.')
  }
  addEventListener('dragover', (event) => {
    event.preventDefault()
    document.body.classList.add('over')
  })
  addEventListener('dragleave', (event) => {
    if (!event.relatedTarget) document.body.classList.remove('over')
  })
  addEventListener('drop', async (event) => {
    event.preventDefault()
    document.body.classList.remove('over')
    if (!event.dataTransfer) return
    try {
      await open(await filesOf(event.dataTransfer))
    } catch (error) {
      fail(error)
    }
  })
  void readThreshold().finally(() => toWorker({ type: 'load' }))
  if ('serviceWorker' in navigator) navigator.serviceWorker.register('sw.js').catch(() => undefined)
}

async function readThreshold(): Promise<void> {
  setThreshold(0.5)
  const answer = await fetch('calibration.json')
  const value = answer.ok ? (await answer.json()).threshold : undefined
  if (typeof value === 'number' && value > 0 && value < 1) setThreshold(value)
}

const cases = document.querySelector<HTMLMetaElement>('meta[name="agd-cases"]')?.content
started.then(
  () => (cases ? openCases(cases, viewer) : startSegmenting()),
  () => tell('This page draws with WebGL 2, which this browser has not or has turned off.'),
)
