/** How sure a prediction is: `inference/uncertainty.py` and `evaluation/uncertainty.py`. */

/** Entropy of a probability in bits: 0 at 0 and 1, 1 at one half. */
export function entropy(probability: number): number {
  const term = (p: number) => (p > 0 ? -p * Math.log2(p) : 0)
  return term(probability) + term(1 - probability)
}

/** Mean of two predictions, and its entropy at every voxel. */
export function combine(one: Float32Array, other: Float32Array) {
  const probability = new Float32Array(one.length)
  const doubt = new Float32Array(one.length)
  for (let i = 0; i < one.length; i++) {
    const mean = (one[i] + other[i]) / 2
    probability[i] = mean
    doubt[i] = entropy(mean)
  }
  return { probability, doubt }
}

const REACH = 5 // rows and columns around the tumour that count

/**
 * The patient's score, 0 (certain) to 1: the mean entropy within five rows and columns of the
 * predicted tumour; the largest entropy where there is none.
 */
export function scoreOf(probability: Float32Array, rows: number, columns: number, threshold: number): number {
  const limit = Math.fround(threshold)
  const plane = rows * columns
  let sum = 0
  let count = 0
  let most = 0
  for (let start = 0; start < probability.length; start += plane) {
    const one = probability.subarray(start, start + plane)
    const near = widen(widen(one.map((p) => (p >= limit ? 1 : 0)), columns, rows, 1, columns), rows, columns, columns, 1)
    for (let i = 0; i < plane; i++) {
      const own = entropy(one[i])
      if (own > most) most = own
      if (near[i]) {
        sum += own
        count += 1
      }
    }
  }
  return count ? sum / count : most
}

/** Marks what is at most `REACH` steps from a mark along lines of `size` values, `step` apart. */
function widen(marks: Float32Array, size: number, lines: number, step: number, toNext: number): Float32Array {
  const wide = new Float32Array(marks.length)
  for (let line = 0; line < lines; line++) {
    for (const way of [1, -1]) {
      let last = -Infinity
      for (let n = 0; n < size; n++) {
        const place = line * toNext + (way > 0 ? n : size - 1 - n) * step
        if (marks[place]) last = n
        if (n - last <= REACH) wide[place] = 1
      }
    }
  }
  return wide
}
