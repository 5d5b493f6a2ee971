// A Trace is what a chart shows of one metric: rows by time, fetched in buckets or
// raw, and whatever arrives live joined to them.

import type { Score, Series, Severity } from '../shapes'

interface Row {
  t: number // seconds
  avg: number | null // null: judged, but nothing was measured
  min: number | null
  max: number | null
  n: number
  expected: number | null
  lower: number | null
  upper: number | null
  alarm: number | null
}

// An Episode is a run of anomalous evaluations of one label: a stuck minute is one
// thing that happened, not sixty.
export interface Episode {
  first: Score
  last: Score
  worst: Score // the one to explain
  count: number
}

const rank: Record<Severity, number> = { none: 0, info: 1, warning: 2, critical: 3 }

type Column = (number | null | undefined)[]
// x, upper, lower, expected, max, min, value, alarm score
export type Columns = [number[], Column, Column, Column, Column, Column, Column, Column]

const empty = { avg: null, min: null, max: null, n: 0, expected: null, lower: null, upper: null, alarm: null }

export class Trace {
  rows: Row[] = []
  anomalies: Score[] = []
  raw = true
  step = 0 // seconds of a bucket
  cut = false

  constructor(series?: Series) {
    if (!series) return
    this.raw = series.raw
    this.step = series.step_seconds
    this.cut = series.anomalies_cut ?? false
    this.rows = series.points.map((p) => ({
      t: Date.parse(p.ts) / 1000,
      avg: p.count === 0 ? null : p.avg,
      min: p.count === 0 ? null : p.min,
      max: p.count === 0 ? null : p.max,
      n: p.count,
      expected: p.expected ?? null,
      lower: p.lower ?? null,
      upper: p.upper ?? null,
      alarm: p.alarm_score ?? null,
    }))
    this.anomalies = [...series.anomalies].sort((a, b) => Date.parse(a.ts) - Date.parse(b.ts))
  }

  get last(): Row | undefined {
    return this.rows.at(-1)
  }

  addPoint(ms: number, value: number): void {
    const r = this.#at(ms / 1000)
    if (!r) return
    if (this.raw || r.n === 0) {
      r.avg = r.min = r.max = value
      r.n = 1
      return
    }
    r.avg = (r.avg! * r.n + value) / (r.n + 1)
    r.min = Math.min(r.min!, value)
    r.max = Math.max(r.max!, value)
    r.n++
  }

  addScore(s: Score): void {
    const r = this.#at(Date.parse(s.ts) / 1000)
    if (r) {
      r.expected = s.expected
      r.lower = s.lower
      r.upper = s.upper
      r.alarm = this.raw ? s.alarm_score : Math.max(r.alarm ?? 0, s.alarm_score)
    }
    if (s.severity === 'none' || this.anomalies.some((a) => a.ts === s.ts && a.root === s.root)) return
    let i = this.anomalies.length
    while (i > 0 && Date.parse(this.anomalies[i - 1]!.ts) > Date.parse(s.ts)) i--
    this.anomalies.splice(i, 0, s)
  }

  // trim forgets what a sliding window has left behind.
  trim(from: number): void {
    const keep = this.rows.findIndex((r) => r.t >= from)
    if (keep > 200) this.rows.splice(0, keep - 1)
    while (this.anomalies[0] && Date.parse(this.anomalies[0].ts) / 1000 < from) this.anomalies.shift()
  }

  // at is the row of a time: the same point, the bucket that holds it, or a new one
  // in its place. What is older than the fetched buckets is left to the next fetch.
  #at(t: number): Row | undefined {
    const rows = this.rows
    let i = rows.length
    while (i > 0 && rows[i - 1]!.t > t) i--
    const before = rows[i - 1]
    if (before && (before.t === t || (!this.raw && t < before.t + this.step))) return before
    if (!this.raw && i < rows.length) return undefined
    const start = !this.raw && before ? before.t + Math.floor((t - before.t) / this.step) * this.step : t
    const row: Row = { t: start, ...empty }
    rows.splice(i, 0, row)
    return row
  }

  // episodes groups what follows closely: within three of the metric's own steps,
  // and a quarter of a minute at least.
  episodes(): Episode[] {
    const usual = this.raw ? median(this.rows.slice(-60).map((r, i, all) => (i ? r.t - all[i - 1]!.t : 0)).slice(1)) : this.step
    const close = Math.max(15, 3 * usual) * 1000
    const out: Episode[] = []
    const open = new Map<string, Episode>()
    for (const a of this.anomalies) {
      const e = open.get(a.label ?? '')
      if (e && Date.parse(a.ts) - Date.parse(e.last.ts) <= close) {
        e.last = a
        e.count++
        if (rank[a.severity] > rank[e.worst.severity] || (a.severity === e.worst.severity && a.alarm_score > e.worst.alarm_score)) e.worst = a
        continue
      }
      const fresh = { first: a, last: a, worst: a, count: 1 }
      open.set(a.label ?? '', fresh)
      out.push(fresh)
    }
    return out
  }

  // columns lays the rows out for the plot. null breaks a line, undefined does not:
  // a row that was not evaluated lies on the line between its neighbours; a silence
  // is a hole.
  columns(): Columns {
    const out: Columns = [[], [], [], [], [], [], [], []]
    const holes = this.#holes()
    let silent = false
    const judged = this.rows.some((r) => r.alarm !== null)
    for (const [i, r] of this.rows.entries()) {
      const hole = holes.get(i)
      if (r.avg !== null) silent = false
      out[0].push(r.t)
      const v = (x: number | null) => x ?? (silent ? null : undefined)
      out[1].push(r.upper ?? undefined)
      out[2].push(r.lower ?? undefined)
      out[3].push(r.expected ?? undefined)
      out[4].push(this.raw ? null : v(r.max))
      out[5].push(this.raw ? null : v(r.min))
      out[6].push(v(r.avg))
      out[7].push(judged ? (r.alarm ?? undefined) : null)
      if (hole === undefined) continue
      silent = true
      if (this.rows[i + 1]!.avg === null) continue // the rows within the hole break the line themselves
      out[0].push(hole)
      for (const c of out.slice(1) as Column[]) c.push(null)
    }
    return out
  }

  // holes are the rows after which too long nothing was measured, with a time
  // within. How long is too long is told by the neighbourhood: history may come by
  // the minute and the present by the second.
  #holes(): Map<number, number> {
    const at: number[] = []
    for (const [i, r] of this.rows.entries()) if (r.avg !== null) at.push(i)
    const dt = at.slice(1).map((i, k) => this.rows[i]!.t - this.rows[at[k]!]!.t)
    const out = new Map<number, number>()
    for (const [k, d] of dt.entries()) {
      const usual = Math.max(median(dt.slice(Math.max(0, k - 7), k)), median(dt.slice(k + 1, k + 8)))
      const full = !this.raw && this.rows[at[k]!]!.n > 1
      const limit = full ? Math.max(1.5 * this.step, 1.5 * usual) : 4 * usual
      if (usual > 0 && d > Math.max(limit, this.raw ? 0 : 1.5 * this.step)) out.set(at[k]!, this.rows[at[k]!]!.t + d / 2)
    }
    return out
  }
}

function median(v: number[]): number {
  return v.length ? v.sort((a, b) => a - b)[v.length >> 1]! : 0
}
