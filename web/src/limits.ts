/** What a scan may be: as `io/case.py`, but for the voxels, since a page has 4 GB for all it does. */

export const MAX_SIDE = 2 ** 11
export const MAX_VOXELS = 2 ** 25
export const MAX_OFFSET = 2 ** 22 // header and its extensions
export const MAX_CHANNELS = 16
export const MAX_BYTES = 2 ** 31 - 1 // of one file, unpacked
