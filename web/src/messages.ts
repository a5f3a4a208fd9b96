/** What page and worker say to each other. */

import type { Affine } from './affine.js'
import type { AxialView } from './axial.js'
import type { Contrast } from './contrast.js'

/** One contrast that was found: a file, or one of the channels of a file. */
export interface Row {
  file: number
  channel: number
  name: string
  size: string
  contrast?: Contrast
  told?: string // what else is to be said of it
}

export type Chosen = Partial<Record<Contrast, { file: number; channel: number }>>
export type Order = Pick<AxialView, 'slices' | 'rows' | 'columns' | 'start' | 'step'>

export interface Found {
  probability: Float32Array<ArrayBuffer> // in the order of the file
  doubt?: Float32Array<ArrayBuffer> // entropy in bits
  score?: number
  layers: { probability: ArrayBuffer; doubt?: ArrayBuffer } // of both, for the screen: NIfTI in hundredths
  ms: number
  view: Order
  place: { name: string; dims: [number, number, number]; affine: Affine }
  header: ArrayBuffer
  voxelMl: number
  notes: string[]
}

export type ToWorker =
  | { type: 'load' }
  | { type: 'cancel' }
  | { type: 'open'; job: number; files: Blob[]; names: string[]; hints: string[]; agents: string[] }
  | { type: 'segment'; job: number; chosen: Chosen; flips: boolean; threshold: number }

export type FromWorker =
  | { type: 'ready'; ms: number; threads: number }
  | { type: 'opened'; job: number; rows: Row[]; refused: string[] }
  | { type: 'scan'; job: number; name: string; bytes: ArrayBuffer }
  | { type: 'progress'; job: number; share: number }
  | ({ type: 'done'; job: number } & Found)
  | { type: 'cancelled'; job: number }
  | { type: 'refused'; job: number; reason: string; broken: boolean } // broken: the worker is of no use any more
