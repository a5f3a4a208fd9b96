/** The model card: as much of Markdown as it has, made of text nodes only. */

function inline(text: string, into: HTMLElement): HTMLElement {
  for (const part of text.split(/(\*\*[^*]+\*\*|`[^`]+`)/)) {
    const tag = part.startsWith('**') ? 'strong' : part.startsWith('`') ? 'code' : ''
    const mark = tag === 'strong' ? 2 : 1
    into.append(tag ? element(tag, part.slice(mark, -mark)) : part)
  }
  return into
}

function element(tag: string, text = ''): HTMLElement {
  const made = document.createElement(tag)
  made.textContent = text
  return made
}

function table(lines: string[]): HTMLElement {
  const cells = (line: string) => line.replace(/^\||\|$/g, '').split('|').map((cell) => cell.trim())
  const made = element('table')
  for (const [number, line] of lines.entries()) {
    if (/^\|[\s:|-]+$/.test(line)) continue
    const row = element('tr')
    row.append(...cells(line).map((cell) => inline(cell, element(number ? 'td' : 'th'))))
    made.append(row)
  }
  const around = element('div')
  around.className = 'scroll'
  around.append(made)
  return around
}

export function renderCard(markdown: string): HTMLElement[] {
  return markdown
    .split(/\n\s*\n/)
    .map((block) => block.trim())
    .filter((block) => block && !/^# [^\n]*$/.test(block))
    .map((block) => {
      const lines = block.split('\n')
      const heading = /^(#+) (.*)$/.exec(block)
      if (heading) return inline(heading[2], element(heading[1].length > 2 ? 'h3' : 'h2'))
      if (lines.every((line) => line.startsWith('|'))) return table(lines)
      if (lines[0].startsWith('- ')) {
        const list = element('ul')
        const items = block.split(/\n(?=- )/).map((item) => item.slice(2).replace(/\s+/g, ' '))
        list.append(...items.map((item) => inline(item, element('li'))))
        return list
      }
      return inline(lines.join(' '), element('p'))
    })
}
