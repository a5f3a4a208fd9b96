/** Grey levels for the screen: a quarter of the bytes of the values, from the darkest to the brightest but few. */

const BINS = 4096
const LEFT_OUT = 0.005 // share of the values above white

export function shade(values: Float32Array): Uint8Array {
  let low = Infinity
  let high = -Infinity
  for (let i = 0; i < values.length; i++) {
    const value = values[i]
    if (value < low && value > -Infinity) low = value
    if (value > high && value < Infinity) high = value
  }
  const shown = new Uint8Array(values.length)
  if (!(high > low)) return shown
  const counts = new Uint32Array(BINS)
  const scale = (BINS - 1) / (high - low)
  for (let i = 0; i < values.length; i++) if (values[i] > low) counts[Math.min(BINS - 1, (values[i] - low) * scale)] += 1
  let bin = BINS - 1
  for (let left = values.length * LEFT_OUT; bin > 1 && left > counts[bin]; bin--) left -= counts[bin]
  const white = 255 / ((bin + 1) / scale)
  for (let i = 0; i < values.length; i++) shown[i] = Math.max(0, Math.min(255, (values[i] - low) * white)) // NaN is 0
  return shown
}
