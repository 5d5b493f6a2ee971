// What happens, as it happens: one stream of server-sent events for the whole page.
//
// It is read by fetch and not by EventSource, because a new subscription (another
// chart) must go on where the old one ended: that needs the Last-Event-ID header,
// and a 401 must be told from an outage. Alerts are lossless over reconnects;
// scores and points are not, so whoever shows them loads again on "connected".

import { path, problemOf } from './api'
import type { AlertEvent, Score } from './shapes'

export interface Events {
  alert: AlertEvent
  anomaly: Score
  score: Score
  points: { metric_id: string; points: [number, number][] }
  ingest: { points_per_second: number; requests_per_second: number }
  dropped: { count: number }
  connected: undefined // from now on nothing is missed; what came before must be fetched
}
type Name = keyof Events

const silence = 40_000 // the server says something every 15 s
// A browser opens six connections to a service over HTTP/1.1, for all tabs together,
// so a page that nobody looks at gives the one of its stream back: after a while when
// it is hidden, at once when it is left (it may live on in the browser's cache).
const hiddenFor = 10_000

class Live {
  state = $state<'off' | 'connecting' | 'live' | 'waiting'>('off')
  #hearers = new Map<Name, Set<(v: never) => void>>()
  #watched = new Map<string, number>()
  #lastId = ''
  #stop: AbortController | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #failures = 0

  constructor() {
    let hiding: ReturnType<typeof setTimeout> | undefined
    document.addEventListener('visibilitychange', () => {
      clearTimeout(hiding)
      if (document.hidden) hiding = setTimeout(() => this.#pause(), hiddenFor)
      else if (this.state === 'waiting') this.#connect()
    })
    addEventListener('pagehide', () => this.#pause())
    addEventListener('pageshow', () => this.state === 'waiting' && this.#connect())
    addEventListener('online', () => this.state === 'waiting' && this.#connect())
  }

  start(): void {
    if (this.state === 'off') this.#connect()
  }

  end(): void {
    this.#pause()
    this.state = 'off'
    this.#lastId = ''
  }

  on<N extends Name>(name: N, hear: (v: Events[N]) => void): () => void {
    const set = this.#hearers.get(name) ?? new Set()
    this.#hearers.set(name, set)
    set.add(hear as (v: never) => void)
    return () => set.delete(hear as (v: never) => void)
  }

  // watch asks for the points and scores of a metric, until its answer is called.
  watch(metric: string): () => void {
    const n = this.#watched.get(metric) ?? 0
    this.#watched.set(metric, n + 1)
    if (n === 0) this.#again()
    return () => {
      const left = (this.#watched.get(metric) ?? 1) - 1
      if (left > 0) this.#watched.set(metric, left)
      else {
        this.#watched.delete(metric)
        this.#again()
      }
    }
  }

  // again reconnects soon with what is watched now; several changes make one.
  #again(): void {
    if (this.state === 'off') return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#connect(), 20)
  }

  #pause(): void {
    clearTimeout(this.#timer)
    this.#stop?.abort()
    this.#stop = undefined // its end asks for no other one
    if (this.state !== 'off') this.state = 'waiting'
  }

  #connect(): void {
    clearTimeout(this.#timer)
    this.#stop?.abort()
    const mine = (this.#stop = new AbortController())
    if (this.state !== 'live') this.state = 'connecting'
    void this.#read(mine)
      .catch(() => {})
      .finally(() => {
        if (this.#stop !== mine || this.state === 'off') return
        mine.abort()
        this.state = 'waiting'
        const wait = Math.min(500 * 2 ** this.#failures++, 15_000) * (0.75 + Math.random() / 2)
        this.#timer = setTimeout(() => this.#connect(), wait)
      })
  }

  async #read(mine: AbortController): Promise<void> {
    const metrics = [...this.#watched.keys()].slice(0, 50)
    const types = 'alert,anomaly,ingest' + (metrics.length ? ',score,points' : '')
    const url = path('/v1/live', { types }) + metrics.map((m) => `&metric_id=${encodeURIComponent(m)}`).join('')
    const headers: Record<string, string> = { Accept: 'text/event-stream' }
    if (this.#lastId) headers['Last-Event-ID'] = this.#lastId
    const res = await fetch(url, { headers, credentials: 'same-origin', cache: 'no-store', signal: mine.signal })
    if (!res.ok || !res.body) {
      await problemOf(res, '/v1/live') // a 401 ends the session
      return
    }
    if (mine.signal.aborted) return
    this.#failures = 0
    this.state = 'live'
    this.#tell('connected', undefined)
    const reader = res.body.pipeThrough(new TextDecoderStream()).getReader()
    let rest = ''
    for (;;) {
      const watchdog = setTimeout(() => mine.abort(), silence)
      const { done, value } = await reader.read().finally(() => clearTimeout(watchdog))
      if (done) return
      const blocks = (rest + value).split(/\r?\n\r?\n/)
      rest = blocks.pop() ?? ''
      for (const b of blocks) this.#event(b)
    }
  }

  #event(block: string): void {
    let name = ''
    let data = ''
    for (const line of block.split(/\r?\n/)) {
      const colon = line.indexOf(':')
      const field = colon < 0 ? line : line.slice(0, colon)
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
      if (field === 'event') name = value
      else if (field === 'data') data += (data && '\n') + value
      else if (field === 'id') this.#lastId = value
    }
    if (name && data) this.#tell(name as Name, JSON.parse(data) as never)
  }

  #tell<N extends Name>(name: N, v: Events[N]): void {
    for (const hear of this.#hearers.get(name) ?? []) (hear as (v: Events[N]) => void)(v)
  }
}

export const live = new Live()
