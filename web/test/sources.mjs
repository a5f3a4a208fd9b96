/** The page's modules that need no browser, bundled for Node. */

import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const here = dirname(fileURLToPath(import.meta.url))
const out = join(mkdtempSync(join(tmpdir(), 'agd-sources-')), 'sources.mjs')
const modules = ['affine', 'axial', 'contrast', 'doubt', 'halves', 'limits', 'measure', 'nifti', 'refusal', 'shade', 'stack']
const contents = modules.map((name) => `export * from './src/${name}.js'`).join('\n')
await build({ stdin: { contents, resolveDir: join(here, '..') }, bundle: true, format: 'esm', platform: 'node', outfile: out, logLevel: 'error' })

export const sources = await import(pathToFileURL(out).href)
export const root = join(here, '../..')
