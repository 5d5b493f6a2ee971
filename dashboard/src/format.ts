// Numbers and times as an engineer reads them.

const three = new Intl.NumberFormat('en', { maximumSignificantDigits: 4 })
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 })
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })

export const minus = (s: string) => s.replace('-', '\u2212')

// number writes a measured value: four significant digits, exponents only where
// they save reading.
export function number(v: number | null | undefined): string {
  if (v === null || v === undefined || !Number.isFinite(v)) return '–'
  const a = Math.abs(v)
  if (a !== 0 && (a >= 1e9 || a < 1e-4)) return minus(v.toExponential(2).replace('e+', 'e'))
  return minus(a >= 1000 ? whole.format(v) : three.format(v))
}

export const count = (v: number | undefined) => (v === undefined ? '–' : v >= 100_000 ? short.format(v) : whole.format(v))
export const rate = (v: number) => (v >= 100 ? count(v) : three.format(Math.round(v * 10) / 10))
export const withUnit = (v: number | null | undefined, unit?: string) => number(v) + (unit && v !== null && v !== undefined ? ` ${unit}` : '')
export const plural = (n: number, one: string, many = one + 's') => `${count(n)} ${n === 1 ? one : many}`

const clockTime = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })
const dayTime = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' })
const dayHour = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
const precise = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23' })

// moment is the shortest text that names the time from today on.
export function moment(ms: number, now = Date.now()): string {
  return new Date(ms).toDateString() === new Date(now).toDateString() ? clockTime.format(ms) : dayTime.format(ms)
}
export const hour = (ms: number) => dayHour.format(ms)
export const millis = (ms: number) => precise.format(ms)
export const utc = (ms: number) => new Date(ms).toISOString().replace('T', ' ').replace('Z', ' UTC')

export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds))
  if (s < 60) return `${s} s`
  if (s < 3600) return s % 60 && s < 600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.round(s / 60)} min`
  if (s < 86400) return Math.round((s % 3600) / 60) && s < 6 * 3600 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : `${Math.round(s / 3600)} h`
  return `${Math.round(s / 8640) / 10} d`
}

export function latency(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`
  if (ms < 10_000) return `${Math.round(ms)} ms`
  return duration(ms / 1000)
}

export function ago(ms: number, now: number): string {
  const s = (now - ms) / 1000
  if (Math.abs(s) < 2) return 'now'
  const a = Math.abs(s)
  const coarse = a < 60 ? duration(a) : a < 3600 ? `${Math.round(a / 60)} min` : a < 86400 ? `${Math.round(a / 3600)} h` : duration(a)
  return s < 0 ? `in ${coarse}` : `${coarse} ago`
}

// goDuration reads "1m30s" as the API writes it; NaN when it is none.
export function goDuration(text: string): number {
  const unit: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600 }
  if (!text) return 0
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return text === '0' ? 0 : NaN
  let total = 0
  for (const part of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) total += Number(part[1]) * unit[part[2]!]!
  return total
}

const kilo = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

// bytes in powers of a thousand.
export function bytes(n: number): string {
  let i = 0
  for (; n >= 999.5 && i < kilo.length - 1; i++) n /= 1000
  return `${three.format(i ? Math.round(n * 10) / 10 : n)} ${kilo[i]}`
}
