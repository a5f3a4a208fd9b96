/** From the contrasts of a patient to the network's three channels, and back to the file. */

import { sameGrid } from './affine.js'
import { type AxialView, type Square, axialView, eachVoxel, squareView } from './axial.js'
import { CHANNELS, type Contrast } from './contrast.js'
import { type Volume, readChannel, unitInMm } from './nifti.js'
import { Refusal } from './refusal.js'

const MAX_VALUE = 2 ** 60 // beyond, sums overflow; no scanner is near it

/** One contrast: which of the channels of which file. */
export interface Source {
  volume: Volume
  channel: number
}

/** A patient's slices as `predict_case` gives them to the network. */
export interface Stack {
  images: Float32Array<ArrayBuffer> // slices × rows × columns × 3, a square field of view
  shape: [number, number, number]
  view: AxialView
  square: Square
  voxelMl: number
  notes: string[]
}

/** Puts the contrasts together, with FLAIR in place of those that are missing. */
export function makeStack(sources: Partial<Record<Contrast, Source>>): Stack {
  const flair = sources.FLAIR
  if (!flair) throw new Refusal('Which file is the FLAIR? Nothing else can stand in for it.')
  const grid = flair.volume
  const view = axialView(grid.dims, grid.affine)
  const square = squareView(view)
  const planes = view.slices * square.rows * square.columns
  const images = new Float32Array(planes * CHANNELS.length)
  const bad = new Uint8Array(grid.dims[0] * grid.dims[1] * grid.dims[2])
  CHANNELS.forEach((contrast, place) => {
    const { volume, channel } = sources[contrast] ?? flair
    if (!sameShape(volume, grid) || !sameGrid(volume.affine, grid.affine, 1e-2)) {
      throw new Refusal(`${volume.name}: ${contrast} lies on another grid than the FLAIR; resample it first.`)
    }
    const values = readChannel(volume, channel)
    const air = settle(values, bad)
    for (let i = place; i < images.length; i += CHANNELS.length) images[i] = air
    eachVoxel(view, square, (inFile, inStack) => {
      images[inStack * CHANNELS.length + place] = values[inFile]
    })
  })
  return {
    ...{ images, view, square, shape: [view.slices, square.rows, square.columns] },
    voxelMl: view.spacing.reduce((product, step) => product * step, 1) * unitInMm(grid) ** 3 * 1e-3,
    notes: notesOf(sources, bad),
  }
}

/** Puts the lowest value in place of what is no number, marks that, and returns it. */
function settle(values: Float32Array, bad: Uint8Array): number {
  const usable = (value: number) => Math.abs(value) < MAX_VALUE
  let lowest = Infinity
  for (let i = 0; i < values.length; i++) if (usable(values[i]) && values[i] < lowest) lowest = values[i]
  if (lowest === Infinity) lowest = 0
  for (let i = 0; i < values.length; i++) {
    if (!usable(values[i])) {
      values[i] = lowest
      bad[i] = 1
    }
  }
  return lowest
}

const sameShape = (one: Volume, other: Volume) => one.dims.every((size, axis) => size === other.dims[axis])

function notesOf(sources: Partial<Record<Contrast, Source>>, bad: Uint8Array): string[] {
  const notes: string[] = []
  const missing = CHANNELS.filter((contrast) => !sources[contrast])
  if (missing.length) notes.push(`FLAIR stands in for ${missing.join(' and ')}.`)
  const count = bad.reduce((sum, one) => sum + one, 0)
  if (count) notes.push(`${count} voxel${count > 1 ? 's are' : ' is'} no number, taken as air.`)
  if (!sources.FLAIR?.volume.located) notes.push('The header tells no orientation: left and right may be swapped.')
  return notes
}

/** Brings values of the square stack back into the order of the FLAIR's file. */
export function toFile(stack: Stack, values: Float32Array): Float32Array<ArrayBuffer> {
  const { view, square } = stack
  const found = new Float32Array(view.slices * view.rows * view.columns)
  eachVoxel(view, square, (inFile, inStack) => {
    found[inFile] = values[inStack]
  })
  return found
}
