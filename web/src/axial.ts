/** Axial slices that lie as in LGG: to the left, to the back, from below: `io/geometry.py`. */

import { type Affine, orientationOf } from './affine.js'
import { MAX_VOXELS } from './limits.js'
import { Refusal } from './refusal.js'

const MAX_ASPECT = 8 // a field of view longer than that is no head

/** Where in the file's order (first axis fastest) the voxel of a slice, row and column is. */
export interface AxialView {
  slices: number
  rows: number
  columns: number
  start: number
  step: [number, number, number] // from slice to slice, row to row, column to column
  spacing: [number, number, number] // of the same, in the affine's unit
}

export function axialView(dims: [number, number, number], affine: Affine): AxialView {
  const { world, sign } = orientationOf(affine)
  const strides = [1, dims[0], dims[0] * dims[1]]
  let start = 0
  // In terms of the affine's axes, columns, rows and slices run left, back and up.
  const along = ([2, 1, 0] as const).map((axis) => {
    const own = world.indexOf(axis)
    const turned = sign[own] !== (axis === 2 ? 1 : -1)
    if (turned) start += strides[own] * (dims[own] - 1)
    return { size: dims[own], step: turned ? -strides[own] : strides[own] }
  })
  const [slices, rows, columns] = along.map((one) => one.size)
  const step = along.map((one) => one.step) as [number, number, number]
  return { slices, rows, columns, start, step, spacing: spacingOf(affine, world) }
}

/** Distances of parallel planes, lines and points: their product is a voxel, also of a sheared grid. */
function spacingOf(affine: Affine, world: number[]): [number, number, number] {
  const [c, r, s] = [0, 1, 2].map((axis) => affine.map((row) => row[world.indexOf(axis)]))
  const normal = [c[1] * r[2] - c[2] * r[1], c[2] * r[0] - c[0] * r[2], c[0] * r[1] - c[1] * r[0]]
  const area = Math.hypot(...normal)
  const columns = Math.hypot(...c)
  return [Math.abs(normal[0] * s[0] + normal[1] * s[1] + normal[2] * s[2]) / area, area / columns, columns]
}

/** A square field of view around the slices, and where in it they are: `square_view`. */
export interface Square {
  rows: number
  columns: number
  top: number
  left: number
}

export function squareView(view: AxialView): Square {
  const counts = [view.rows, view.columns]
  const steps = view.spacing.slice(1)
  const extents = counts.map((count, i) => count * steps[i])
  const most = Math.max(...extents)
  if (most > MAX_ASPECT * Math.min(...extents)) {
    const found = extents.map((extent) => Number(extent.toPrecision(4))).join(' × ')
    throw new Refusal(`Axial slices of ${found} mm, expected an axial view of a head.`)
  }
  const more = extents.map((extent, i) => roundHalfEven((most - extent) / steps[i]))
  if (view.slices * (counts[0] + more[0]) * (counts[1] + more[1]) > MAX_VOXELS) {
    throw new Refusal('In square slices this scan has too many voxels for a browser.')
  }
  const [top, left] = more.map((count) => Math.floor(count / 2))
  return { rows: counts[0] + more[0], columns: counts[1] + more[1], top, left }
}

/** Rounds as NumPy does. */
function roundHalfEven(value: number): number {
  const low = Math.floor(value)
  if (value - low !== 0.5) return Math.round(value)
  return low % 2 === 0 ? low : low + 1
}

/** Calls with the place in the file and the place in the square stack, for every voxel. */
export function eachVoxel(view: AxialView, square: Square, visit: (inFile: number, inStack: number) => void): void {
  for (let s = 0; s < view.slices; s++) {
    for (let r = 0; r < view.rows; r++) {
      let inFile = view.start + s * view.step[0] + r * view.step[1]
      let inStack = (s * square.rows + r + square.top) * square.columns + square.left
      for (let c = 0; c < view.columns; c++) {
        visit(inFile, inStack)
        inFile += view.step[2]
        inStack += 1
      }
    }
  }
}
