/** Builds the page into a folder: `node build.mjs OUT`. */

import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const here = dirname(fileURLToPath(import.meta.url))
const out = resolve(process.argv[2] ?? join(here, '../agd_keras/web/dist'))
const modules = join(here, 'node_modules')
rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })

const { metafile } = await build({
  entryPoints: ['page', 'worker', 'sw'].map((name) => join(here, 'src', `${name}.ts`)),
  outdir: out,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  metafile: true,
  legalComments: 'none', // all licences are in LICENCES.txt
  loader: { '.png': 'dataurl', '.jpg': 'dataurl' },
  logLevel: 'warning',
})

for (const name of ['index.html', 'page.css', 'icon.svg']) cpSync(join(here, 'src', name), join(out, name))
const runtime = join(modules, 'onnxruntime-web/dist')
cpSync(join(runtime, 'ort-wasm-simd-threaded.mjs'), join(out, 'ort-wasm-simd-threaded.mjs'))
// Packed, as most servers of files do not: a quarter of the bytes.
writeFileSync(join(out, 'ort-wasm-simd-threaded.wasm.gz'), gzipSync(readFileSync(join(runtime, 'ort-wasm-simd-threaded.wasm')), { level: 9 }))
for (const name of ['worker.jpeg.js', 'dcm2niix.jpeg.js', 'dcm2niix.jpeg.wasm']) {
  cpSync(join(modules, '@niivue/dcm2niix/dist', name), join(out, name))
}
writeFileSync(join(out, 'LICENCES.txt'), licences())

/** Names, versions and licences of everything that went into the bundles, or lies beside them. */
function licences() {
  const inputs = Object.keys(metafile.inputs)
  const used = inputs.map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]).filter(Boolean)
  const names = [...new Set([...used, 'onnxruntime-web', '@niivue/dcm2niix'])].sort()
  const parts = names.map((name) => {
    const folder = join(modules, name)
    const { version, license, homepage } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
    const file = readdirSync(folder).find((entry) => /^(licen[cs]e|copying)/i.test(entry))
    const own = join(here, 'licences', `${name.replace('/', '__')}.txt`)
    const text = readFileSync(file ? join(folder, file) : own, 'utf8').trim()
    return `${name} ${version} (${license})${homepage ? `\n${homepage}` : ''}\n\n${text}\n`
  })
  const rule = `\n${'-'.repeat(80)}\n\n`
  const head = 'This page is part of agd_keras (MIT). It contains, or brings along:\n\n'
  return head + names.map((name) => `- ${name}\n`).join('') + rule + parts.join(rule)
}
