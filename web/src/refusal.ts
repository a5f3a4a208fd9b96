/** What is wrong with a user's file or choice, in one sentence that the page shows as it is. */
export class Refusal extends Error {}

/** Any error as one such sentence; a number is what WebAssembly throws without memory. */
export function sentenceOf(error: unknown): string {
  if (error instanceof Refusal) return error.message
  const reason = error instanceof Error ? error.message : String(error)
  if (typeof error === 'number' || error instanceof RangeError || /memory|allocat|bad_alloc|out of bounds/i.test(reason)) {
    return "More than this browser's memory holds. Close other pages, or use agd-predict."
  }
  return `That did not work (${reason.replace(/\s+/g, ' ').slice(0, 160)}).`
}
