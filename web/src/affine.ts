/** Affines of three rows: voxel indices to mm to the right, to the front and up. */

import { Refusal } from './refusal.js'

export type Affine = number[][]

const length = (affine: Affine, column: number) => Math.hypot(...affine.map((row) => row[column]))

/** Lengths of the steps along the three axes of the voxels. */
export const stepsOf = (affine: Affine): number[] => [0, 1, 2].map((column) => length(affine, column))

function determinant(m: number[][]): number {
  const [a, b, c] = m
  return a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])
}

/** Refuses an affine that does not place voxels in space, as `check_affine` of the package does. */
export function checkAffine(name: string, affine: Affine): void {
  const steps = stepsOf(affine)
  const unit = affine.map((row) => steps.map((step, column) => row[column] / step))
  const usable = affine.flat().every(Number.isFinite) && steps.every((step) => step > 1e-6 && step < 1e6)
  if (!usable || Math.abs(determinant(unit)) < 1e-3) {
    throw new Refusal(`${name}: its header does not say where the voxels lie (three independent axes expected).`)
  }
}

/** The affine of a NIfTI qform. */
export function fromQuaternion(bcd: number[], qfac: number, zooms: number[], origin: number[]): Affine {
  const [b, c, d] = bcd
  const a = Math.sqrt(Math.max(0, 1 - b * b - c * c - d * d))
  const turn = [
    [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
    [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
    [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
  ]
  const scale = [zooms[0], zooms[1], zooms[2] * qfac]
  return turn.map((row, i) => [...row.map((value, j) => value * scale[j]), origin[i]])
}

/**
 * Which anatomical axis each axis of the voxels is closest to, and its direction: the rule of
 * nibabel's `io_orientation`, on the rotation closest to the affine.
 *
 * Returns, for each axis of the voxels, 0 (left-right), 1 or 2, and 1 or -1.
 */
export function orientationOf(affine: Affine): { world: number[]; sign: number[] } {
  const steps = stepsOf(affine)
  const turn = rotation(affine.map((row) => steps.map((step, column) => row[column] / step)))
  const strength = [0, 1, 2].map((column) => Math.max(...turn.map((row) => row[column] ** 2)))
  const order = [0, 1, 2].sort((i, j) => strength[j] - strength[i] || i - j)
  const world = [0, 0, 0]
  const sign = [1, 1, 1]
  const free = new Set([0, 1, 2])
  for (const column of order) {
    let best = -1
    for (const row of free) {
      if (best < 0 || Math.abs(turn[row][column]) > Math.abs(turn[best][column])) best = row
    }
    free.delete(best)
    world[column] = best
    sign[column] = turn[best][column] < 0 ? -1 : 1
  }
  return { world, sign }
}

/** The orthogonal matrix closest to one, by Newton's iteration (Higham 1986). */
function rotation(matrix: number[][]): number[][] {
  let now = matrix
  for (let i = 0; i < 50; i++) {
    const [a, b, c] = now
    const size = determinant(now)
    const cross = (u: number[], v: number[]) => [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]]
    const inverse = [cross(b, c), cross(c, a), cross(a, b)] // transposed, times the determinant
    const next = now.map((row, r) => row.map((value, s) => (value + inverse[r][s] / size) / 2))
    const change = Math.max(...next.flat().map((value, place) => Math.abs(value - now.flat()[place])))
    now = next
    if (change < 1e-14) break
  }
  return now
}

/** Whether two grids are the same, as NumPy's `allclose` tells. */
export function sameGrid(one: Affine, other: Affine, tolerance: number): boolean {
  return one.every((row, i) => row.every((value, j) => Math.abs(value - other[i][j]) <= tolerance + 1e-5 * Math.abs(other[i][j])))
}
