/** The cases of a server that `agd-view` started: worst first, each with its layers. */

import { $, announce, state, tell } from './dom.js'
import { drawLayers } from './layers.js'
import { sentenceOf } from './refusal.js'
import type { Look, Viewer } from './viewer.js'

interface Case {
  name: string
  figure?: number // Dice, or volume in ml
  facts: [string, string][]
  layers: { name: string; look: Look | 'scan'; url: string; bottom: number; shown: boolean }[]
  notes: string[]
  place: [number, number, number] // in mm, where there is most to see
}

interface Listing {
  title: string
  figure: 'Dice' | 'ml' | ''
  cases: { name: string; figure?: number; url: string }[]
}

async function get<T>(url: string): Promise<T> {
  const answer = await fetch(url)
  if (!answer.ok) throw new Error((await answer.text()).slice(0, 200) || answer.statusText)
  return answer.json()
}

export async function openCases(url: string, viewer: Viewer): Promise<void> {
  document.body.dataset.mode = 'view'
  state('working')
  for (const id of ['sources', 'save', 'flips-row', 'cancel', 'private', 'threshold-row']) $(id).hidden = true
  let asked = 0
  try {
    const listing = await get<Listing>(url)
    $('tagline').textContent = listing.title
    document.title = `${listing.title} · agd`
    $('cases-of').textContent = `${listing.cases.length}${listing.figure === 'Dice' ? ', worst first' : ''}`
    $('cases-figure').textContent = listing.figure
    const places = listing.figure === 'Dice' ? 3 : 1
    const lines = listing.cases.map((one) => {
      const row = document.createElement('tr')
      const button = Object.assign(document.createElement('button'), { textContent: one.name })
      button.onclick = () => void open(one, row)
      const cells = [document.createElement('td'), document.createElement('td')]
      cells[0].append(button)
      cells[1].textContent = one.figure === undefined ? '' : one.figure.toFixed(places)
      row.append(...cells)
      return row
    })
    $('case-rows').replaceChildren(...lines)
    $('cases').hidden = false
    if (lines.length) await open(listing.cases[0], lines[0])
  } catch (error) {
    $('work').hidden = true
    tell(sentenceOf(error))
  }

  async function open(one: Listing['cases'][number], row: HTMLElement): Promise<void> {
    const own = ++asked
    for (const other of row.parentElement?.children ?? []) {
      other.classList.toggle('own', other === row)
      if (other === row) other.setAttribute('aria-current', 'true')
      else other.removeAttribute('aria-current')
    }
    tell()
    $('work').hidden = false
    $('work-what').textContent = `Reading ${one.name}`
    $<HTMLProgressElement>('work-bar').removeAttribute('value')
    try {
      const shown = await get<Case>(one.url)
      for (const layer of shown.layers) {
        const answer = await fetch(layer.url)
        if (!answer.ok) throw new Error(await answer.text())
        const bytes = await answer.arrayBuffer()
        if (own !== asked) return
        if (layer.look === 'scan') await viewer.setScan(bytes)
        else await viewer.setLayer(layer.name, layer.look, bytes, layer.bottom, layer.shown)
      }
      viewer.goTo(shown.place)
      describe(shown)
      drawLayers(viewer)
      announce(`${shown.name} is shown.`)
    } catch (error) {
      if (own === asked) tell(sentenceOf(error))
    } finally {
      if (own === asked) {
        $('work').hidden = true
        state('done')
      }
    }
  }

  function describe(shown: Case): void {
    $('canvas').setAttribute('aria-label', `${shown.name}, in three planes`)
    $('result').hidden = $('display').hidden = false
    const facts = shown.facts.map(([key, value]) => {
      const line = document.createElement('div')
      const [term, description] = [document.createElement('dt'), document.createElement('dd')]
      term.textContent = key
      description.textContent = value
      line.append(term, description)
      return line
    })
    const result = $('result')
    const heading = result.querySelector('h2')
    if (heading) heading.textContent = shown.name
    result.querySelector('.figure')?.remove()
    result.querySelector('dl')?.replaceChildren(...facts)
    $('notes').replaceChildren(...shown.notes.map((note) => Object.assign(document.createElement('li'), { textContent: note })))
  }
}
