/** The list of layers: shown or not, and how opaque. */

import { $ } from './dom.js'
import { LOOKS, type Layer, type Viewer } from './viewer.js'

export function drawLayers(viewer: Viewer): void {
  $('layers').replaceChildren(...[...viewer.layers.values()].map((layer) => item(viewer, layer)))
}

function item(viewer: Viewer, layer: Layer): HTMLElement {
  const made = document.createElement('li')
  const label = document.createElement('label')
  const box = Object.assign(document.createElement('input'), { type: 'checkbox', checked: layer.shown })
  const name = document.createElement('span')
  const swatch = document.createElement('i')
  swatch.className = 'swatch'
  const { colors } = LOOKS[layer.look]
  swatch.style.setProperty('--swatch', colors.length > 1 ? `linear-gradient(90deg, ${colors.join(', ')})` : colors[0])
  name.append(swatch, layer.name[0].toUpperCase() + layer.name.slice(1))
  label.append(box, name)
  const range = Object.assign(document.createElement('input'), {
    ...{ type: 'range', min: '0.05', max: '1', step: '0.05' },
    ...{ value: String(layer.opacity), disabled: !layer.shown },
  })
  range.setAttribute('aria-label', `${layer.name}, opacity`)
  box.onchange = () => {
    range.disabled = !box.checked
    viewer.change(layer.name, { shown: box.checked })
  }
  range.oninput = () => viewer.change(layer.name, { opacity: Number(range.value) })
  made.append(label, range)
  return made
}
