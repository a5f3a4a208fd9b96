/** Size and place of what is at least as probable as a threshold. */

import type { Affine } from './affine.js'
import type { Order } from './messages.js'

export function measure(probability: Float32Array, view: Order, grid: { dims: number[]; affine: Affine }, threshold: number) {
  const limit = Math.fround(threshold)
  let voxels = 0
  let slices = 0
  let most = 0
  let place: [number, number, number] | undefined
  for (let s = 0; s < view.slices; s++) {
    let own = 0
    let row = 0
    let column = 0
    for (let r = 0; r < view.rows; r++) {
      let at = view.start + s * view.step[0] + r * view.step[1]
      for (let c = 0; c < view.columns; c++, at += view.step[2]) {
        if (probability[at] >= limit) {
          own += 1
          row += r
          column += c
        }
      }
    }
    voxels += own
    if (own) slices += 1
    if (own > most) {
      most = own
      place = toMm([s, Math.round(row / own), Math.round(column / own)], view, grid)
    }
  }
  return { voxels, slices, place }
}

/** The middle of a voxel of the axial view, in mm. */
function toMm(at: number[], view: Order, { dims, affine }: { dims: number[]; affine: Affine }): [number, number, number] {
  const flat = view.start + at[0] * view.step[0] + at[1] * view.step[1] + at[2] * view.step[2]
  const voxel = [flat % dims[0], Math.floor(flat / dims[0]) % dims[1], Math.floor(flat / (dims[0] * dims[1]))]
  return affine.map((row) => row[3] + voxel.reduce((sum, index, axis) => sum + row[axis] * index, 0)) as [number, number, number]
}
