// A Resource is something fetched: its value, why there is none, and whether it is
// on its way. A newer load overtakes an older one; a reload keeps what is shown.

import { Problem, get, type Query } from './api'
import type { Page } from './shapes'

export function problemFrom(e: unknown): Problem {
  return e instanceof Problem ? e : new Problem(0, 'bug', e instanceof Error ? `The dashboard failed: ${e.message}` : 'The dashboard failed.')
}

export class Resource<T> {
  value = $state.raw<T | undefined>(undefined)
  problem = $state.raw<Problem | undefined>(undefined)
  loading = $state(false)
  #running: AbortController | undefined

  async load(fetcher: (signal: AbortSignal) => Promise<T>): Promise<T | undefined> {
    this.#running?.abort()
    const mine = (this.#running = new AbortController())
    this.loading = true
    try {
      const v = await fetcher(mine.signal)
      if (mine.signal.aborted) return undefined
      this.value = v
      this.problem = undefined
      return v
    } catch (e) {
      if (!mine.signal.aborted) this.problem = problemFrom(e)
      return undefined
    } finally {
      if (this.#running === mine) this.loading = false
    }
  }

  stop(): void {
    this.#running?.abort()
  }
}

// A List is a resource that grows page by page.
export class List<T> extends Resource<Page<T>> {
  #base: string
  #query: Query = {}

  constructor(base: string) {
    super()
    this.#base = base
  }

  open(query: Query): Promise<Page<T> | undefined> {
    this.#query = query
    return this.load((signal) => get<Page<T>>(this.#base, query, signal))
  }

  more(): Promise<Page<T> | undefined> {
    const have = this.value
    if (!have?.next_cursor) return Promise.resolve(undefined)
    return this.load(async (signal) => {
      const next = await get<Page<T>>(this.#base, { ...this.#query, cursor: have.next_cursor }, signal)
      return { ...next, data: [...have.data, ...next.data] }
    })
  }

  get rows(): T[] {
    return this.value?.data ?? []
  }
}
