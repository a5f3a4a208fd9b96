/** NIfTI files: unpacked under limits, checked, read as the package reads them, and written. */

import { NIFTI1, NIFTI2, readHeader } from 'nifti-reader-js'
import { type Affine, checkAffine, fromQuaternion } from './affine.js'
import { MAX_BYTES, MAX_CHANNELS, MAX_OFFSET, MAX_SIDE, MAX_VOXELS } from './limits.js'
import { Refusal } from './refusal.js'


/** Bytes of a voxel, and how to read one, by the datatype code of the format. */
const READERS: Record<number, [number, (view: DataView, at: number, little: boolean) => number]> = {
  2: [1, (view, at) => view.getUint8(at)],
  4: [2, (view, at, little) => view.getInt16(at, little)],
  8: [4, (view, at, little) => view.getInt32(at, little)],
  16: [4, (view, at, little) => view.getFloat32(at, little)],
  64: [8, (view, at, little) => view.getFloat64(at, little)],
  256: [1, (view, at) => view.getInt8(at)],
  512: [2, (view, at, little) => view.getUint16(at, little)],
  768: [4, (view, at, little) => view.getUint32(at, little)],
  1024: [8, (view, at, little) => Number(view.getBigInt64(at, little))],
  1280: [8, (view, at, little) => Number(view.getBigUint64(at, little))],
}

/** A file in memory whose header was checked. Affine: voxel indices to mm, right, front and up. */
export interface Volume {
  name: string
  bytes: ArrayBuffer
  header: NIFTI1 | NIFTI2
  dims: [number, number, number]
  channels: number
  affine: Affine
  located: boolean
}

/** Reads a file, unpacked, never more of it than its header asks for. */
export async function readVolume(file: Blob, name: string): Promise<Volume> {
  const head = new Uint8Array(await file.slice(0, 2).arrayBuffer())
  const packed = head[0] === 0x1f && head[1] === 0x8b
  const stream = packed ? file.stream().pipeThrough(new DecompressionStream('gzip')) : file.stream()
  const reader = stream.getReader()
  let start = new Uint8Array(0)
  let whole: Uint8Array | undefined
  let filled = 0
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      if (!whole) {
        start = join(start, value)
        if (start.length < 544) continue
        whole = new Uint8Array(sizeOf(name, start))
        filled = Math.min(start.length, whole.length)
        whole.set(start.subarray(0, filled))
      } else {
        const part = value.subarray(0, whole.length - filled)
        whole.set(part, filled)
        filled += part.length
      }
      if (filled === whole.length) break
    }
  } catch (error) {
    if (error instanceof Refusal) throw error
    if (error instanceof RangeError) throw new Refusal(`${name}: more than this browser's memory holds.`)
    throw new Refusal(`${name}: damaged or cut short, so it cannot be unpacked.`)
  } finally {
    reader.cancel().catch(() => undefined)
  }
  if (!whole) throw new Refusal(`${name}: too short for a scan, expected a NIfTI file.`)
  if (filled < whole.length) throw new Refusal(`${name}: cut short, ${filled} of ${whole.length} bytes are there.`)
  return openVolume(name, whole.buffer as ArrayBuffer)
}

function join(left: Uint8Array, right: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(left.length + right.length)
  both.set(left)
  both.set(right, left.length)
  return both
}

function headerOf(name: string, start: Uint8Array): NIFTI1 | NIFTI2 {
  const view = new DataView(start.buffer, start.byteOffset, start.length)
  const sizes = [view.getInt32(0, true), view.getInt32(0, false)]
  const known = sizes.includes(348) || sizes.includes(540)
  let header: NIFTI1 | NIFTI2 | null = null
  try {
    // Without what may follow the header: an extension can claim to be of any size.
    const alone = new Uint8Array(544)
    alone.set(start.subarray(0, sizes.includes(348) ? 348 : 540))
    if (known) header = readHeader(alone.buffer)
  } catch {
    // told below
  }
  if (!header) throw new Refusal(`${name}: no NIfTI file, whatever its name.`)
  return header
}

/** How many bytes of a file count; refuses what is no scan of a sensible size. */
function sizeOf(name: string, start: Uint8Array): number {
  const header = headerOf(name, start)
  const [rank, ...sizes] = header.dims as number[]
  const used = sizes.slice(0, rank)
  while (used.length > 3 && used[used.length - 1] === 1) used.pop()
  const [x, y, z, channels = 1] = used
  if (used.length < 3 || used.length > 4 || channels > MAX_CHANNELS) {
    throw new Refusal(`${name}: ${used.join(' × ')}, expected three dimensions, or up to ${MAX_CHANNELS} contrasts as the fourth.`)
  }
  const found = [x, y, z].join(' × ')
  if (Math.min(x, y, z, channels) < 1 || Math.max(x, y, z) > MAX_SIDE) {
    throw new Refusal(`${name}: ${found} voxels, expected 1 to ${MAX_SIDE} each way.`)
  }
  if (x * y * z > MAX_VOXELS) {
    throw new Refusal(
      `${name}: ${found} voxels are too many for a browser, which takes ${Math.round(MAX_VOXELS / 1e6)} million; agd-predict takes four times as many.`,
    )
  }
  const reader = READERS[header.datatypeCode]
  if (!reader) throw new Refusal(`${name}: numbers of type ${header.datatypeCode}, expected grey values.`)
  const offset = header.vox_offset
  if (!(offset >= 0 && offset <= MAX_OFFSET)) throw new Refusal(`${name}: a damaged header.`)
  const bytes = Math.ceil(offset) + x * y * z * channels * reader[0]
  if (bytes > MAX_BYTES) throw new Refusal(`${name}: ${Math.round(bytes / 2 ** 20)} MB are more than a browser takes (2048).`)
  return bytes
}

function openVolume(name: string, bytes: ArrayBuffer): Volume {
  const header = headerOf(name, new Uint8Array(bytes, 0, Math.min(544, bytes.byteLength)))
  const [, x, y, z, channels] = header.dims as number[]
  const volume = { name, bytes, header, dims: [x, y, z] as [number, number, number], affine: bestAffine(bytes, header) }
  checkAffine(name, volume.affine)
  const located = header.qform_code > 0 || header.sform_code > 0
  return { ...volume, channels: header.dims[0] > 3 ? channels : 1, located }
}

/** A volume of which only the header is at hand: what `writeNifti` needs. */
export function headerOnly(name: string, bytes: ArrayBuffer, dims: [number, number, number], affine: Affine): Volume {
  return { name, bytes, dims, affine, header: headerOf(name, new Uint8Array(bytes)), channels: 1, located: true }
}

/** The affine that nibabel takes: the sform, else the qform, else the middle and left to right. */
function bestAffine(bytes: ArrayBuffer, header: NIFTI1 | NIFTI2): Affine {
  const first = header instanceof NIFTI1
  const little = header.littleEndian
  const view = new DataView(bytes)
  if (header.sform_code > 0) {
    const row = (i: number) =>
      [0, 1, 2, 3].map((j) => (first ? view.getFloat32(280 + 16 * i + 4 * j, little) : view.getFloat64(400 + 32 * i + 8 * j, little)))
    return [row(0), row(1), row(2)]
  }
  const zooms = header.pixDims.slice(1, 4).map(Math.abs)
  if (header.qform_code > 0) {
    const { quatern_b: b, quatern_c: c, quatern_d: d } = header
    const origin = [header.qoffset_x, header.qoffset_y, header.qoffset_z]
    return fromQuaternion([b, c, d], header.pixDims[0] < 0 ? -1 : 1, zooms, origin)
  }
  const steps = [-zooms[0], zooms[1], zooms[2]]
  return steps.map((step, i) => [0, 1, 2].map((j) => (i === j ? step : 0)).concat((-step * (header.dims[i + 1] - 1)) / 2))
}

/** One contrast of a file, its first axis fastest, scaled as the header says. */
export function readChannel(volume: Volume, channel: number): Float32Array<ArrayBuffer> {
  const { bytes, header, dims } = volume
  const [size, read] = READERS[header.datatypeCode]
  const { scl_slope: slope, scl_inter: inter, littleEndian: little } = header
  const scaled = Number.isFinite(slope) && slope !== 0
  if (scaled && !Number.isFinite(inter)) throw new Refusal(`${volume.name}: a damaged header.`)
  const count = dims[0] * dims[1] * dims[2]
  const start = Math.trunc(header.vox_offset) + channel * count * size
  const values = new Float32Array(count)
  const view = new DataView(bytes, start, count * size)
  if (scaled && (slope !== 1 || inter !== 0)) {
    for (let i = 0; i < count; i++) values[i] = read(view, i * size, little) * slope + inter
  } else {
    for (let i = 0; i < count; i++) values[i] = read(view, i * size, little)
  }
  return values
}

/** Size of a unit of the affine in mm, which is also meant where none is named. */
export function unitInMm(volume: Volume): number {
  return { 1: 1e3, 3: 1e-3 }[volume.header.xyzt_units & 7] ?? 1
}

/**
 * Writes values in the geometry of a volume, as one NIfTI file of the same version.
 *
 * For NiiVue (`shown`) the affine stands in the sform alone: where a file has both, it prefers the
 * other one than nibabel. What a step of the values is worth, and the highest, it then is told too.
 */
export function writeNifti(volume: Volume, values: Uint8Array | Float32Array, shown?: { slope: number; top: number; bottom?: number }): ArrayBuffer {
  const { slope, top, bottom = 0 } = shown ?? { slope: 1, top: 0 }
  const scale = [slope, 0, top, bottom] // and the window, from top to bottom
  const first = volume.header instanceof NIFTI1
  const little = volume.header.littleEndian
  const headerSize = first ? 348 : 540
  const offset = first ? 352 : 544
  const bytes = new ArrayBuffer(offset + values.byteLength)
  new Uint8Array(bytes).set(new Uint8Array(volume.bytes, 0, headerSize))
  const view = new DataView(bytes)
  const real = values instanceof Float32Array
  const sizes = [3, ...volume.dims, 1, 1, 1, 1]
  const [type, bits] = real ? [16, 32] : [2, 8]
  if (first) {
    sizes.forEach((size, i) => view.setInt16(40 + 2 * i, size, little))
    view.setInt16(70, type, little)
    view.setInt16(72, bits, little)
    view.setFloat32(108, offset, little)
    ;[112, 116, 124, 128].forEach((at, i) => view.setFloat32(at, scale[i], little))
    new Uint8Array(bytes, 148, 104).fill(0) // descriptions: whatever someone typed
    new Uint8Array(bytes, 344, 4).set([0x6e, 0x2b, 0x31, 0])
  } else {
    sizes.forEach((size, i) => view.setBigInt64(16 + 8 * i, BigInt(size), little))
    view.setInt16(12, type, little)
    view.setInt16(14, bits, little)
    view.setBigInt64(168, BigInt(offset), little)
    ;[176, 184, 192, 200].forEach((at, i) => view.setFloat64(at, scale[i], little))
    new Uint8Array(bytes, 240, 104).fill(0)
  }
  if (shown) {
    const codes = first ? [252, 254] : [344, 348]
    codes.forEach((at, i) => (first ? view.setInt16(at, i, little) : view.setInt32(at, i, little)))
    volume.affine.forEach((row, i) =>
      row.forEach((value, j) =>
        first ? view.setFloat32(280 + 16 * i + 4 * j, value, little) : view.setFloat64(400 + 32 * i + 8 * j, value, little),
      ),
    )
  }
  new Uint8Array(bytes, offset).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  if (real && !little) {
    for (let i = 0; i < values.length; i++) view.setFloat32(offset + 4 * i, values[i], false)
  }
  return bytes
}
