// The two plots of a metric: values with expectation above, score below. They
// share the cursor and the x axis; dragging selects a range to look into.

import uPlot from 'uplot'
import { minus, number } from '../format'
import { hollow, shapes } from '../parts/LabelMark.svelte'
import type { Label, Score } from '../shapes'
import type { Colours } from './colours'
import type { Episode } from './trace'

// Drawn is what the plots ask of their chart.
export interface Drawn {
  colours: Colours
  episodes: () => Episode[]
  selected: () => { ts: string; window_start: string; window_end: string } | undefined
  unit: () => string
  zoom: (from: number, to: number) => void // seconds
  reset: () => void
  pick: (s: Score | undefined) => void
  point: (index: number | null) => void
}

const font = '11px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif'
const left = 54
const right = 14

const pad = (n: number) => String(n).padStart(2, '0')
const clock = (d: Date, seconds: boolean) => `${pad(d.getHours())}:${pad(d.getMinutes())}${seconds ? ':' + pad(d.getSeconds()) : ''}`
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' })

// Ticks in the browser's zone: the time, and the day where it begins.
function ticks(_: uPlot, splits: number[], __: number, ___: number, step: number): string[] {
  let shown = ''
  return splits.map((s) => {
    const d = new Date(s * 1000)
    const date = day.format(d)
    const midnight = d.getHours() === 0 && d.getMinutes() === 0 && d.getSeconds() === 0
    if (step >= 86400 || (midnight && date !== shown)) {
      shown = date
      return date
    }
    return clock(d, step < 60)
  })
}

function base(width: number, height: number, d: Drawn): Pick<uPlot.Options, 'width' | 'height' | 'legend' | 'cursor' | 'scales' | 'padding'> {
  return {
    width,
    height,
    padding: [8, right, 0, 0],
    legend: { show: false },
    scales: { x: { time: true } },
    cursor: {
      sync: { key: 'metric', setSeries: false },
      y: false,
      points: { show: false },
      drag: { x: true, y: false, setScale: false, dist: 6 },
      bind: {
        dblclick: () => () => {
          d.reset()
          return null
        },
      },
    },
  }
}

const axis = (d: Drawn): uPlot.Axis => ({
  font,
  stroke: () => d.colours.muted,
  grid: { stroke: () => d.colours.grid, width: 1 },
  ticks: { show: false },
})

function dragged(d: Drawn): (u: uPlot) => void {
  return (u) => {
    if (u.select.width < 6) return
    const from = u.posToVal(u.select.left, 'x')
    const to = u.posToVal(u.select.left + u.select.width, 'x')
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
    d.zoom(from, Math.max(to, from + 1))
  }
}

export function valueOptions(width: number, height: number, d: Drawn): uPlot.Options {
  const none: uPlot.Series = { points: { show: false }, stroke: 'transparent', width: 0 }
  const o = base(width, height, d)
  return {
    ...o,
    scales: { ...o.scales, y: { range: (u) => valueRange(u) } },
    axes: [
      { ...axis(d), values: ticks, space: 72, size: 26, gap: 4 },
      { ...axis(d), size: left, gap: 6, space: 34, values: (_, s) => s.map((v) => (Math.abs(v) >= 1e6 ? minus(v.toExponential(1)) : number(Number(v.toPrecision(10))))) },
    ],
    series: [
      {},
      none,
      none,
      { points: { show: false }, stroke: () => d.colours.expected, width: 1.5, dash: [5, 4] },
      none,
      none,
      { stroke: () => d.colours.series, width: 1.5, points: { show: (_, __, first, last) => last - first < 60, size: 4, fill: () => d.colours.series } },
    ],
    bands: [
      { series: [1, 2], fill: () => d.colours.band },
      { series: [4, 5], fill: () => d.colours.envelope },
    ],
    hooks: {
      setSelect: [dragged(d)],
      setCursor: [(u) => d.point(u.cursor.idx ?? null)],
      drawClear: [(u) => drawWindow(u, d)],
      draw: [(u) => drawAnomalies(u, d)],
      ready: [(u) => picks(u, d)],
    },
  }
}

export function scoreOptions(width: number, height: number, d: Drawn): uPlot.Options {
  const o = base(width, height, d)
  return {
    ...o,
    scales: { ...o.scales, y: { range: [0, 1.02] } },
    axes: [
      { ...axis(d), values: (_, s) => s.map(() => ''), space: 72, size: 4 },
      { ...axis(d), size: left, gap: 6, splits: () => [0, 0.5, 1], values: () => ['0', '0.5', '1'] },
    ],
    series: [
      {},
      { stroke: () => d.colours.critical, width: 1.5, fill: () => faded(d.colours.critical), points: { show: false } },
    ],
    hooks: {
      setSelect: [dragged(d)],
      setCursor: [(u) => d.point(u.cursor.idx ?? null)],
      drawClear: [(u) => drawWindow(u, d)],
    },
  }
}

// The values rule the y axis; the band may widen it, but not flatten the values.
function valueRange(u: uPlot): [number, number] {
  const [x, upper, lower, expected, most, least, v] = u.data as unknown as (number | null | undefined)[][]
  const { min: from = -Infinity, max: to = Infinity } = u.scales['x'] as { min?: number; max?: number }
  let lo = Infinity
  let hi = -Infinity
  let bandLo = Infinity
  let bandHi = -Infinity
  for (let i = 0; i < (x?.length ?? 0); i++) {
    if (x![i]! < from || x![i]! > to) continue
    for (const c of [v, most, least, expected]) {
      const y = c![i]
      if (typeof y === 'number') {
        lo = Math.min(lo, y)
        hi = Math.max(hi, y)
      }
    }
    if (typeof lower![i] === 'number') bandLo = Math.min(bandLo, lower![i]!)
    if (typeof upper![i] === 'number') bandHi = Math.max(bandHi, upper![i]!)
  }
  if (lo > hi) return [0, 1]
  const tall = hi - lo || Math.abs(hi) * 0.1 || 1
  lo = Math.min(lo, Math.max(bandLo, lo - tall))
  hi = Math.max(hi, Math.min(bandHi, hi + tall))
  const room = (hi - lo || tall) * 0.08
  return [lo - room, hi + room]
}

const faded = (rgb: string) => rgb.replace(/^rgb\((.*)\)$/, 'rgba($1, 0.18)')

// The window of the selected anomaly lies behind the lines.
function drawWindow(u: uPlot, d: Drawn): void {
  const s = d.selected()
  if (!s) return
  const a = Math.max(u.bbox.left, u.valToPos(Date.parse(s.window_start) / 1000, 'x', true))
  const b = Math.min(u.bbox.left + u.bbox.width, u.valToPos(Date.parse(s.ts) / 1000, 'x', true))
  if (!(b >= u.bbox.left) || a > u.bbox.left + u.bbox.width) return
  u.ctx.save()
  u.ctx.fillStyle = d.colours.accent
  u.ctx.globalAlpha = 0.1
  u.ctx.fillRect(a, u.bbox.top, Math.max(b - a, 2 * devicePixelRatio), u.bbox.height)
  u.ctx.restore()
}

const glyphs = Object.fromEntries(Object.entries(shapes).map(([l, p]) => [l, new Path2D(p)])) as Record<Label, Path2D>
const ring = new Path2D('M-8 0A8 8 0 1 0 8 0A8 8 0 1 0-8 0Z')

function height(u: uPlot, a: Score): number {
  const v = a.label === 'missingness' ? (a.expected ?? a.value) : a.value
  const y = u.valToPos(v, 'y', true)
  return Number.isFinite(y) ? Math.max(u.bbox.top + 7 * devicePixelRatio, Math.min(u.bbox.top + u.bbox.height - 7 * devicePixelRatio, y)) : u.bbox.top + u.bbox.height / 2
}

function drawAnomalies(u: uPlot, d: Drawn): void {
  const { ctx, bbox } = u
  const chosen = d.selected()
  ctx.save()
  ctx.beginPath()
  ctx.rect(bbox.left - 8 * devicePixelRatio, bbox.top, bbox.width + 16 * devicePixelRatio, bbox.height)
  ctx.clip()
  for (const e of d.episodes()) {
    const a = e.worst
    const from = u.valToPos(Date.parse(e.first.ts) / 1000, 'x', true)
    const to = u.valToPos(Date.parse(e.last.ts) / 1000, 'x', true)
    const x = u.valToPos(Date.parse(a.ts) / 1000, 'x', true)
    if (to < bbox.left || from > bbox.left + bbox.width) continue
    const colour = a.label ? d.colours[a.label] : d.colours.muted
    if (to - from > 4 * devicePixelRatio) {
      // How long it lasted, along the foot of the plot.
      ctx.fillStyle = colour
      ctx.fillRect(from, bbox.top + bbox.height - 4 * devicePixelRatio, to - from, 4 * devicePixelRatio)
    }
    ctx.save()
    ctx.translate(x, height(u, a))
    ctx.scale(devicePixelRatio, devicePixelRatio)
    const glyph = glyphs[a.label ?? 'missingness']
    ctx.lineJoin = 'round'
    ctx.strokeStyle = d.colours.surface
    ctx.lineWidth = 4
    ctx.stroke(glyph)
    ctx.fillStyle = ctx.strokeStyle = colour
    ctx.lineWidth = 1.8
    if (!a.label || hollow(a.label)) ctx.stroke(glyph)
    else ctx.fill(glyph)
    if (chosen && Date.parse(chosen.ts) >= Date.parse(e.first.ts) && Date.parse(chosen.ts) <= Date.parse(e.last.ts)) {
      ctx.strokeStyle = d.colours.text
      ctx.lineWidth = 1.5
      ctx.stroke(ring)
    }
    ctx.restore()
  }
  ctx.restore()
}

// A click picks the nearest anomaly, or none.
function picks(u: uPlot, d: Drawn): void {
  let down = 0
  u.over.addEventListener('mousedown', (e) => (down = e.clientX))
  u.over.addEventListener('click', (e) => {
    if (Math.abs(e.clientX - down) > 5) return
    const box = u.over.getBoundingClientRect()
    let best: Score | undefined
    let near = 18
    for (const { worst: a } of d.episodes()) {
      const dx = Math.abs(u.valToPos(Date.parse(a.ts) / 1000, 'x') - (e.clientX - box.left))
      const dy = Math.abs((height(u, a) - u.bbox.top) / devicePixelRatio - (e.clientY - box.top))
      const far = dx + dy / 8
      if (far < near) [best, near] = [a, far]
    }
    d.pick(best)
  })
}
