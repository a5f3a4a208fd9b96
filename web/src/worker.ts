/** The worker of the page: reads files, runs the network. Nothing of it waits for the screen. */

import { type Contrast, type Named, UNTOLD, contrastOf, isLabel } from './contrast.js'
import { combine, scoreOf } from './doubt.js'
import type { FromWorker, Row, ToWorker } from './messages.js'
import { type Volume, readChannel, readVolume, writeNifti } from './nifti.js'
import { Refusal, sentenceOf } from './refusal.js'
import { Cancelled, Segmenter } from './segment.js'
import { hundredths, shade } from './shade.js'
import { type Source, makeStack, toFile } from './stack.js'

let segmenter: Promise<Segmenter> | undefined
let volumes: Volume[] = []
let job = 0 // whatever has another number than this one stops

const say = (message: FromWorker, transfer: Transferable[] = []) => self.postMessage(message, { transfer })
const scope = self as unknown as { crossOriginIsolated: boolean; navigator: Navigator }

/** A file beside the page, unpacked if it is packed: some servers do that by themselves. */
async function fetchBytes(name: string): Promise<ArrayBuffer> {
  const answer = await fetch(new URL(name, import.meta.url))
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`)
  const bytes = await answer.arrayBuffer()
  const head = new Uint8Array(bytes, 0, 2)
  if (head[0] !== 0x1f || head[1] !== 0x8b) return bytes
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer()
}

function load(): Promise<Segmenter> {
  segmenter ??= (async () => {
    const begun = performance.now()
    const threads = scope.crossOriginIsolated ? Math.min(4, scope.navigator.hardwareConcurrency || 1) : 1
    const [model, runtime] = await Promise.all([fetchBytes('patient.onnx'), fetchBytes('ort-wasm-simd-threaded.wasm.gz')])
    const script = new URL('ort-wasm-simd-threaded.mjs', import.meta.url).href
    const made = await Segmenter.load(new Uint8Array(model), runtime, script, threads)
    say({ type: 'ready', ms: performance.now() - begun, threads })
    return made
  })()
  segmenter.catch(() => (segmenter = undefined)) // so that the next try loads anew
  return segmenter
}

/** What the channels of the files are, by name; where nothing tells, the user has to. */
function rowsOf(hints: string[], agents: string[]): Row[] {
  return volumes.flatMap((volume, file) => {
    const { channels, name } = volume
    const mask = agents[file] === '' && isLabel(hints[file])
    const named = mask ? undefined : contrastOf(hints[file], agents[file])
    const alone = volumes.length === 1 && !mask && (channels > 1 || named === undefined)
    const order: (Named | undefined)[] = alone ? (UNTOLD[channels] ?? []) : channels === 1 ? [named] : []
    return Array.from({ length: channels }, (_, channel): Row => {
      const contrast = order[channel]
      const useful = contrast === 'T2' || contrast === 'other' ? undefined : contrast
      const why = mask ? 'a mask' : contrast === 'T2' ? 'T2' : contrast === 'other' ? 'another kind of image' : undefined
      return {
        ...{ file, channel, contrast: useful },
        name: channels > 1 ? `${name}, ${channel + 1} of ${channels}` : name,
        size: volume.dims.join(' × '),
        told: why ? `${why}, not used` : alone && channels === 1 ? 'the only file' : undefined,
      }
    })
  })
}

async function open(message: Extract<ToWorker, { type: 'open' }>): Promise<void> {
  volumes = []
  const refused: string[] = []
  const kept: number[] = []
  for (const [place, file] of message.files.entries()) {
    try {
      volumes.push(await readVolume(file, message.names[place]))
      kept.push(place)
    } catch (error) {
      refused.push(sentenceOf(error))
    }
  }
  if (!volumes.length) throw new Refusal(refused[0])
  const rows = rowsOf(kept.map((i) => message.hints[i]), kept.map((i) => message.agents[i]))
  say({ type: 'opened', job: message.job, rows, refused })
}

async function segment(message: Extract<ToWorker, { type: 'segment' }>): Promise<void> {
  const entries = Object.entries(message.chosen) as [Contrast, { file: number; channel: number }][]
  const sources: Partial<Record<Contrast, Source>> = Object.fromEntries(
    entries.map(([contrast, { file, channel }]) => [contrast, { volume: volumes[file], channel }]),
  )
  const stack = makeStack(sources)
  const { volume, channel } = sources.FLAIR as Source
  const shown = writeNifti(volume, shade(readChannel(volume, channel)), { slope: 1, top: 255, bottom: 20 }) // the noise of air is black
  say({ type: 'scan', job: message.job, name: volume.name, bytes: shown }, [shown])

  const network = await load()
  const begun = performance.now()
  const progress = (from: number, to: number) => async (share: number) => {
    say({ type: 'progress', job: message.job, share: from + (to - from) * share })
    await new Promise((done) => setTimeout(done)) // lets a message to stop through
    if (message.job !== job) throw new Cancelled()
  }
  await progress(0, 0.02)(0)
  const prepared = await network.prepare(stack.images, stack.shape)
  const rounds = message.flips ? 2 : 1
  const step = 0.95 / rounds
  let probability = await network.predict(prepared, stack.shape, progress(0.05, 0.05 + step))
  let doubt: Float32Array | undefined
  let score: number | undefined
  if (message.flips) {
    const mirrored = await network.predict(prepared, stack.shape, progress(0.05 + step, 1), true)
    ;({ probability, doubt } = combine(probability, mirrored))
    score = scoreOf(probability, stack.square.rows, stack.square.columns, message.threshold)
  }
  prepared.dispose()
  const ms = performance.now() - begun
  const found = toFile(stack, probability)
  const map = doubt && toFile(stack, doubt)
  const layer = (values: Float32Array) => writeNifti(volume, hundredths(values), { slope: 0.01, top: 1 })
  const layers = { probability: layer(found), doubt: map && layer(map) }
  const header = volume.bytes.slice(0, 544)
  const place = { name: volume.name, dims: volume.dims, affine: volume.affine }
  const { slices, rows, columns, start, step: steps } = stack.view
  const view = { slices, rows, columns, start, step: steps }
  const transfer = [found.buffer, header, layers.probability, ...(map && layers.doubt ? [map.buffer, layers.doubt] : [])]
  say(
    { type: 'done', job: message.job, probability: found, doubt: map, score, layers, ms, view, place, header, voxelMl: stack.voxelMl, notes: stack.notes },
    transfer,
  )
}

self.onmessage = async ({ data }: MessageEvent<ToWorker>) => {
  try {
    if (data.type === 'load') await load()
    else if (data.type === 'cancel') job = -1
    else {
      job = data.job
      await (data.type === 'open' ? open(data) : segment(data))
    }
  } catch (error) {
    const own = 'job' in data ? data.job : 0
    if (error instanceof Cancelled) say({ type: 'cancelled', job: own })
    // What is no refusal of ours may have left the runtime without memory.
    else say({ type: 'refused', job: own, reason: sentenceOf(error), broken: !(error instanceof Refusal) })
  }
}
