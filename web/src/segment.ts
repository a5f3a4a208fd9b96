/** The network in ONNX Runtime's WebAssembly: loaded once, run a few slices at a time. */

import * as ort from 'onnxruntime-web/wasm'
import { PREPARED, cutModel } from './halves.js'

const SLICES = 8 // that go through the network at a time
export type Shape = [number, number, number]

/** Stopped by the user. */
export class Cancelled extends Error {}

/** Called between slices with what is done, 0 to 1; throws `Cancelled` to stop. */
export type Progress = (share: number) => Promise<void>

export class Segmenter {
  private constructor(
    private readonly first: ort.InferenceSession,
    private readonly second: ort.InferenceSession,
  ) {}

  /** Loads runtime and model; both lie beside the page. */
  static async load(model: Uint8Array, runtime: ArrayBuffer, script: string, threads: number): Promise<Segmenter> {
    ort.env.wasm.wasmBinary = runtime
    ort.env.wasm.wasmPaths = { mjs: script }
    ort.env.wasm.numThreads = threads
    ort.env.logLevel = 'error'
    const { first, second } = cutModel(model)
    const options: ort.InferenceSession.SessionOptions = { executionProviders: ['wasm'], logSeverityLevel: 3 }
    return new Segmenter(await ort.InferenceSession.create(first, options), await ort.InferenceSession.create(second, options))
  }

  /** Normalises the slices of a patient, of shape slices × rows × columns × 3, for the network. */
  async prepare(images: Float32Array<ArrayBuffer>, [slices, rows, columns]: Shape): Promise<ort.Tensor> {
    const image = new ort.Tensor('float32', images, [slices, rows, columns, 3])
    const answer = await this.first.run({ image })
    return answer[PREPARED]
  }

  /** Predicts the probability of tumour for prepared slices, at their own size. */
  async predict(prepared: ort.Tensor, [slices, rows, columns]: Shape, progress: Progress, mirrored = false) {
    const size = prepared.dims[2] as number
    const data = prepared.data as Float32Array
    const perSlice = data.length / slices
    const probability = new Float32Array(slices * rows * columns)
    for (let start = 0; start < slices; start += SLICES) {
      await progress(start / slices)
      const count = Math.min(SLICES, slices - start)
      const part = data.slice(start * perSlice, (start + count) * perSlice)
      if (mirrored) mirror(part, size)
      const answer = await this.second.run(
        {
          [PREPARED]: new ort.Tensor('float32', part, [count, 3, size, size]),
          // Of the images only the size counts here.
          image: new ort.Tensor('float32', new Float32Array(count * rows * columns * 3), [count, rows, columns, 3]),
        },
        ['probability'],
      )
      const found = (answer.probability.data as Float32Array).slice()
      if (mirrored) mirror(found, columns)
      probability.set(found, start * rows * columns)
      answer.probability.dispose()
    }
    return probability
  }
}

/** Turns rows of some length around in place. */
function mirror(values: Float32Array, length: number): void {
  for (let start = 0; start < values.length; start += length) values.subarray(start, start + length).reverse()
}
