/** Small helpers: elements by id, the state of the page, what it says. */

export function $<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T
}

export type State = 'empty' | 'working' | 'chosen' | 'done'

export function state(now: State): void {
  document.body.dataset.state = now
  $('again').hidden = now === 'empty' || document.body.dataset.mode === 'view'
}

/** What went wrong, in sentences; none takes them away. */
export function tell(...sentences: string[]): void {
  const said = sentences.filter(Boolean)
  const box = $('told')
  box.replaceChildren(...said.map((text) => Object.assign(document.createElement('p'), { textContent: text })))
  box.hidden = !said.length
}

/** For those who hear the page. */
export function announce(text: string): void {
  $('status').textContent = text
}
