/** DICOM by dcm2niix, in a worker of its own that is ended afterwards. */

import { Dcm2niix } from '@niivue/dcm2niix'
import { contrastOf } from './contrast.js'
import { Refusal } from './refusal.js'

const MAX_BYTES = 2 ** 30 // of the 2 GB that it may take, half is for what it makes of them

export interface Series {
  file: File
  name: string // as a person would call it
  hint: string // words that may tell the contrast
  agent: string
}

export async function readDicom(files: File[]): Promise<Series[]> {
  const bytes = files.reduce((sum, file) => sum + file.size, 0)
  if (bytes > MAX_BYTES) {
    throw new Refusal(`${Math.round(bytes / 2 ** 20)} MB of DICOM are too many for a browser, which takes 1024; drop the series you need.`)
  }
  const converter = new Dcm2niix()
  try {
    await converter.init()
    // Numbered, as two files of one name in different folders would be one.
    const numbered = files.map((file, i) => new File([file], `${i}.dcm`))
    const made: File[] = await converter.input(numbered).b('y').z('n').f('%s').run()
    const scans = made.filter((file) => /\.nii$/i.test(file.name))
    if (!scans.length) throw new Refusal('There is no image in these DICOM files that could be read.')
    return await Promise.all(scans.map((file) => describe(file, made)))
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal('These DICOM files are damaged, or of a kind that dcm2niix does not read.')
  } finally {
    converter.worker?.terminate()
  }
}

async function describe(file: File, made: File[]): Promise<Series> {
  const sidecar = made.find((one) => one.name === file.name.replace(/\.nii$/i, '.json'))
  const tags = sidecar ? parse(await sidecar.text()) : {}
  const text = (key: string) => (typeof tags[key] === 'string' ? (tags[key] as string) : '')
  const description = text('SeriesDescription') || text('ProtocolName') || 'without description'
  const hint = [text('SeriesDescription'), text('ProtocolName')].find((words) => contrastOf(words)) ?? ''
  return { file, name: description, hint, agent: text('ContrastBolusIngredient') || text('ContrastBolusAgent') || 'none' }
}

function parse(json: string): Record<string, unknown> {
  try {
    return JSON.parse(json)
  } catch {
    return {}
  }
}
