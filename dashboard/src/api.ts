// The one way to the API: same origin, the session's cookie, JSON both ways.
// Whatever fails becomes a Problem, so that every page can say the same: what,
// why, and the request id to quote.

import type { ItemError } from './shapes'

export class Problem extends Error {
  readonly status: number
  readonly code: string
  readonly requestId: string
  readonly items: ItemError[]

  constructor(status: number, code: string, detail: string, requestId = '', items: ItemError[] = []) {
    super(detail)
    this.status = status
    this.code = code
    this.requestId = requestId
    this.items = items
  }
}

export type Query = Record<string, string | number | boolean | undefined | null>

export function path(base: string, query: Query = {}): string {
  const q = new URLSearchParams()
  for (const [k, v] of Object.entries(query)) if (v !== undefined && v !== null && v !== '') q.set(k, String(v))
  const s = q.toString()
  return s ? `${base}?${s}` : base
}

// Who wants to know that the session has ended.
let signedOut = () => {}
export function onSignedOut(f: () => void): void {
  signedOut = f
}

interface Options {
  query?: Query
  body?: unknown
  ifMatch?: number | undefined
  signal?: AbortSignal | undefined
  bearer?: string // instead of the session
}

async function call<T>(method: string, base: string, o: Options): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' }
  if (method !== 'GET') headers['X-EdgePulse-Request'] = '1' // no other site can make a browser send this
  if (o.body !== undefined) headers['Content-Type'] = 'application/json'
  if (o.ifMatch) headers['If-Match'] = `"${o.ifMatch}"`
  if (o.bearer !== undefined) headers.Authorization = `Bearer ${o.bearer}`
  let res: Response
  try {
    res = await fetch(path(base, o.query), {
      method,
      headers,
      credentials: o.bearer === undefined ? 'same-origin' : 'omit',
      ...(o.body === undefined ? {} : { body: JSON.stringify(o.body) }),
      ...(o.signal ? { signal: o.signal } : {}),
    })
  } catch (e) {
    if (o.signal?.aborted) throw e
    throw new Problem(0, 'unreachable', 'The service does not answer. Is it running, and are you online?')
  }
  if (!res.ok) throw await problemOf(res, base)
  if (res.status === 204) return undefined as T
  try {
    return (await res.json()) as T
  } catch (e) {
    if (o.signal?.aborted) throw e
    throw new Problem(res.status, 'unreadable', 'The service answered something that is not JSON.', res.headers.get('X-Request-Id') ?? '')
  }
}

export async function problemOf(res: Response, base: string): Promise<Problem> {
  if (res.status === 401 && !base.startsWith('/v1/session') && !base.startsWith('/v1/owner')) signedOut()
  const id = res.headers.get('X-Request-Id') ?? ''
  try {
    const p = (await res.json()) as { code?: string; detail?: string; title?: string; request_id?: string; errors?: ItemError[] }
    return new Problem(res.status, p.code ?? 'unknown', p.detail ?? p.title ?? `The service answered ${res.status}.`, p.request_id ?? id, p.errors ?? [])
  } catch {
    return new Problem(res.status, 'unknown', `The service answered ${res.status} ${res.statusText}`.trim() + '.', id)
  }
}

export const get = <T>(base: string, query: Query = {}, signal?: AbortSignal) => call<T>('GET', base, { query, signal })
export const getAs = <T>(bearer: string, base: string, signal?: AbortSignal) => call<T>('GET', base, { bearer, signal })
export const post = <T>(base: string, body?: unknown) => call<T>('POST', base, { body })
export const patch = <T>(base: string, body: unknown, ifMatch?: number) => call<T>('PATCH', base, { body, ifMatch })
export const del = (base: string, ifMatch?: number) => call<void>('DELETE', base, { ifMatch })
