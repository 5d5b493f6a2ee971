// The keyboard: / finds, j and k walk rows, g and a letter goes, Esc leaves. Keys
// typed into a field or held with a modifier belong to the field and the browser.

import { router } from './router.svelte'

const places: Record<string, string> = { o: '/', a: '/alerts', m: '/series', d: '/devices', r: '/rules', w: '/webhooks', i: '/ingest' }

export const shortcuts: [string, string][] = [
  ['/', 'search or filter'],
  ['j k', 'next, previous row'],
  ['Enter', 'open the row'],
  ['g o', 'overview'],
  ['g a', 'alerts'],
  ['g m', 'metrics'],
  ['g d', 'devices'],
  ['g r', 'rules'],
  ['g w', 'webhooks'],
  ['g i', 'ingest health'],
  ['t', 'dark, light, or the system’s theme'],
  ['Esc', 'leave a field, clear a selection, close'],
  ['?', 'this list'],
]

export function listen(on: { help: () => void; theme: () => void; escape: () => void }): () => void {
  let going = 0
  function key(e: KeyboardEvent) {
    if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented || document.querySelector('dialog[open]')) return
    const field = e.target instanceof HTMLElement && e.target.matches('input, textarea, select') ? e.target : undefined
    if (e.key === 'Escape') {
      if (field) field.blur()
      else on.escape()
      return
    }
    if (field) return
    if (Date.now() - going < 1200 && places[e.key]) {
      going = 0
      router.go(places[e.key]!)
    } else if (e.key === 'g') going = Date.now()
    else if (e.key === '/') document.querySelector<HTMLElement>('[data-search]')?.focus()
    else if (e.key === 'j' || e.key === 'k') walk(e.key === 'j' ? 1 : -1)
    else if (e.key === 't') on.theme()
    else if (e.key === '?') on.help()
    else return
    e.preventDefault()
  }
  addEventListener('keydown', key)
  return () => removeEventListener('keydown', key)
}

function walk(step: number): void {
  const rows = [...document.querySelectorAll<HTMLElement>('main a.row, main button.row')].filter((r) => r.offsetParent)
  if (!rows.length) return
  const here = rows.indexOf(document.activeElement as HTMLElement)
  const to = rows[here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.max(0, Math.min(rows.length - 1, here + step))]!
  to.focus()
  to.scrollIntoView({ block: 'nearest' })
}
