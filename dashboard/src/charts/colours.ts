// The tokens of app.css as a canvas needs them: resolved for the theme shown.

const names = ['text', 'muted', 'line', 'grid', 'surface', 'accent', 'series', 'expected', 'band', 'envelope', 'critical', 'spike', 'drop', 'drift', 'missingness', 'stuck'] as const
export type Colours = Record<(typeof names)[number], string>

export function colours(): Colours {
  const probe = document.createElement('i')
  document.body.append(probe)
  const out = {} as Colours
  for (const n of names) {
    probe.style.color = `var(--${n})`
    out[n] = getComputedStyle(probe).color
  }
  probe.remove()
  return out
}
