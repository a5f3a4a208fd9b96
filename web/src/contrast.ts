/**
 * Which contrast a file or series is, by the words of its name, as `io/contrasts.py` reads them:
 * the patterns are the package's own (`web/words.py`), and `tests/data/contrasts.json` holds names
 * that both must read alike. What no word settles is asked, never guessed.
 */

import known from './words.json'

export const CHANNELS = ['T1', 'FLAIR', 'T1c'] as const // as the network takes them
export type Contrast = (typeof CHANNELS)[number]
export type Named = Contrast | 'T2' | 'other' // known, and of no use to the network

/** Channels of one file that nothing else tells: one, or the package's own. */
export const UNTOLD: Record<number, Contrast[]> = { 1: ['FLAIR'], 3: [...CHANNELS] }

const whole = (pattern: string) => new RegExp(`^(?:${pattern})$`)
const REPLACEMENTS = known.replacements.map(([pattern, text]) => [new RegExp(pattern, 'g'), text] as const)
const AGENT = whole(`${known.agent}|post|pos|after`)
const AGENT_OR_C = whole(`${known.agent}|c`)
const BEFORE_OR_AFTER = whole(`${known.pre}|${known.post}`)
const WITHOUT = whole(`${known.without}|${known.pre}`)
const [PLAIN, EVENT, EVENTS, NO_AGENT] = [known.plain, known.event, known.events, known.noAgent].map(whole)
const [FLAIR, T1C, T1, T2, SEQUENCE] = [known.flair, known.t1c, known.t1, known.t2, known.sequence].map(whole)
const [OTHER, MAYBE_OTHER, GLUED_AGENT] = [known.other, known.maybeOther, known.gluedAgent].map(whole)
const [LABEL, WEAK_LABEL, TRUTH] = [known.label, known.weakLabel, known.truth].map(whole)
const GLUED_PLAIN = new RegExp(known.gluedPlain)
const GRADIENT = whole(known.gradient)

/** Words of letters and digits, in small letters. */
export function wordsOf(text: string): string[] {
  let left = text.toLowerCase().normalize('NFD').replaceAll('ø', 'o').replaceAll('ł', 'l').replace(/\p{M}/gu, '')
  for (const [pattern, word] of REPLACEMENTS) left = left.replace(pattern, word)
  return left.match(/[a-z0-9]+/g) ?? []
}

function namesAgent(word: string): boolean {
  if (AGENT.test(word) || T1C.test(word)) return true
  const glued = T1.exec(word)
  if (glued) return GLUED_AGENT.test(glued[1]) && !GLUED_PLAIN.test(glued[1])
  return Boolean(SEQUENCE.exec(word)?.[1])
}

/** Whether words tell that a contrast agent was given; undefined where they are silent. */
function enhancement(words: string[]): boolean | undefined {
  let [yes, no] = [false, false]
  for (let place = 0; place < words.length; place++) {
    const word = words[place]
    const next = words[place + 1] ?? ''
    const glued = T1.exec(word)
    if (BEFORE_OR_AFTER.test(word) && EVENT.test(next)) place += 1 // an operation, no injection
    else if (EVENTS.test(word)) continue
    else if (WITHOUT.test(word)) {
      if (!known.notAgent.includes(next)) no = true
      if (AGENT_OR_C.test(next)) place += 1
    } else if (PLAIN.test(word)) no = true
    else if (
      namesAgent(word) ||
      (known.with.includes(word) && !next) ||
      (word === 'c' && known.beforeC.includes(words[Math.max(place - 1, 0)]))
    ) {
      yes = true
    } else if (glued && GLUED_PLAIN.test(glued[1])) no = true
  }
  return yes === no ? undefined : yes
}

function isT1(word: string): boolean {
  const glued = T1.exec(word)
  return Boolean(glued && !/^(map|rho)/.test(glued[1])) || T1C.test(word)
}

function kindOf(word: string): 'T1' | 'FLAIR' | 'T2' | 'other' | undefined {
  if (OTHER.test(word) || MAYBE_OTHER.test(word)) return 'other'
  if (isT1(word) || SEQUENCE.test(word)) return 'T1'
  if (FLAIR.test(word)) return 'FLAIR'
  return T2.test(word) ? 'T2' : undefined
}

const agentGiven = (agent: string) => !NO_AGENT.test((agent.toLowerCase().match(/[a-z0-9]+/g) ?? []).join(' '))

/** The contrast that a name or description tells, undefined if it tells none. */
export function contrastOf(name: string, agent = ''): Named | undefined {
  let words = wordsOf(name)
  let kinds = words.map(kindOf)
  // What follows names the volume that this one was brought to.
  const onto = words.findIndex((word, place) => {
    const [before, behind] = [kinds.slice(0, place), kinds.slice(place + 1)].map((some) => new Set(some.filter(Boolean)))
    // A sequence, and the end of `hi res`, where T2 and FLAIR are around.
    const within = before.size === 1 && before.has('T2') && behind.has('FLAIR') && known.notOnto.includes(word)
    return known.onto.includes(word) && !within && before.size > 0 && behind.size > 0
  })
  if (onto >= 0) [words, kinds] = [words.slice(0, onto), kinds.slice(0, onto)]
  const told = new Set(kinds.filter(Boolean))
  if (words.some((word) => OTHER.test(word)) || (told.size === 1 && told.has('other'))) return 'other'
  if (words.some(isT1) || (told.has('T1') && !told.has('T2') && !told.has('FLAIR'))) {
    if (told.has('T2')) return 'other' // both at once
    const enhanced = enhancement(words)
    return enhanced || (enhanced === undefined && agentGiven(agent)) ? 'T1c' : 'T1'
  }
  if (told.has('FLAIR')) return 'FLAIR'
  if (told.has('T2')) return words.some((word) => GRADIENT.test(word)) ? 'other' : 'T2'
  return undefined
}

/** Whether a file of that name holds masks or maps rather than scans: `io/label_names.py`. */
export function isLabel(stem: string): boolean {
  const words = wordsOf(stem.replace(/(?<=[a-z])(?=[A-Z])/g, '_'))
  if (words.some((word) => LABEL.test(word))) return true
  const weak = words.findLastIndex((word) => WEAK_LABEL.test(word))
  if (weak < 0 || words.slice(weak).some(kindOf)) return false
  return weak > 0 || words.length === 1 || TRUTH.test(words[0])
}
