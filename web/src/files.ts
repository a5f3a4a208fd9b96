/** What was dropped or chosen: files of folders too, NIfTI told from DICOM, all else named. */

import { Refusal } from './refusal.js'

export interface Given {
  nifti: File[]
  dicom: File[]
  other: string[]
}

const IGNORED = /^(\.|__)|^(dicomdir|thumbs\.db)$|\.(json|txt|csv|md|bval|bvec|html?|xml)$/i
const PICTURE = /\.(png|jpe?g|tiff?|gif|bmp|webp)$/i
const MAX_FILES = 20_000

/** Files of a drop; of folders, all below. */
export async function filesOf(data: DataTransfer): Promise<File[]> {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null)
  if (!entries.length) return [...data.files]
  const found: File[] = []
  for (const entry of entries) await walk(entry, found)
  return found
}

async function walk(entry: FileSystemEntry, found: File[]): Promise<void> {
  if (found.length > MAX_FILES) throw new Refusal(`More than ${MAX_FILES} files: drop the folder of one patient.`)
  if (entry.isFile) {
    found.push(await new Promise<File>((done, fail) => (entry as FileSystemFileEntry).file(done, fail)))
    return
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader()
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((done, fail) => reader.readEntries(done, fail))
    if (!some.length) return
    for (const one of some) await walk(one, found)
  }
}

export async function sortFiles(files: File[]): Promise<Given> {
  const given: Given = { nifti: [], dicom: [], other: [] }
  for (const file of files) {
    if (/\.nii(\.gz)?$/i.test(file.name)) given.nifti.push(file)
    else if (await isDicom(file)) given.dicom.push(file)
    else if (!IGNORED.test(file.name)) given.other.push(file.name)
  }
  if (!given.nifti.length && !given.dicom.length) throw new Refusal(sentenceFor(files, given.other))
  return given
}

async function isDicom(file: File): Promise<boolean> {
  const marker = new Uint8Array(await file.slice(128, 132).arrayBuffer())
  return String.fromCharCode(...marker) === 'DICM' && !/^dicomdir$/i.test(file.name)
}

function sentenceFor(files: File[], other: string[]): string {
  if (!files.length) return 'There was no file in that.'
  const [first] = other.length ? other : [files[0].name]
  if (PICTURE.test(first)) return `${first}: a flat picture; expected a whole scan as NIfTI (.nii, .nii.gz) or DICOM.`
  return `${first}: no scan that this page can read; expected NIfTI (.nii, .nii.gz) or DICOM.`
}
