/** Values for the screen in a quarter of their bytes, so that the page never waits long for them. */

const BINS = 4096
const LEFT_OUT = 0.005 // share of the values above white

/** Grey levels, from the darkest to the brightest but few. */
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
  for (let i = 0; i < values.length; i++) if (values[i] > low) counts[Math.min(BINS - 1, Math.floor((values[i] - low) * scale))] += 1
  let bin = BINS - 1
  for (let left = values.length * LEFT_OUT; bin > 1 && left > counts[bin]; bin--) left -= counts[bin]
  const white = 255 / ((bin + 1) / scale)
  for (let i = 0; i < values.length; i++) shown[i] = Math.max(0, Math.min(255, (values[i] - low) * white)) // NaN is 0
  return shown
}

/** How many hundredths a value from 0 to 1 reaches: exact for every threshold that the slider has. */
export function hundredths(values: Float32Array): Uint8Array {
  const steps = Float32Array.from({ length: 102 }, (_, step) => step / 100)
  const shown = new Uint8Array(values.length)
  for (let i = 0; i < values.length; i++) {
    let level = Math.floor(values[i] * 100)
    if (values[i] >= steps[level + 1]) level += 1
    else if (values[i] < steps[level]) level -= 1
    shown[i] = level
  }
  return shown
}
