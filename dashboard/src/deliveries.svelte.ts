// Attempts to tell a webhook follow their event by a moment, and the stream of live
// events carries none of them: a page that shows one still to come looks again itself.

import type { AlertEvent, Delivery } from './shapes'
import type { Resource } from './resource.svelte'

const first = 400
const most = 15_000
const planning = 120_000 // an event without any attempt may get one for so long

// due is when something of these attempts may have changed: a time, or undefined once
// all of them have ended.
export function due(attempts: Delivery[]): number | undefined {
  const last = new Map<string, Delivery>()
  for (const d of attempts) if (d.attempt >= (last.get(d.webhook_id)?.attempt ?? 0)) last.set(d.webhook_id, d)
  const open = [...last.values()].filter((d) => d.outcome === 'planned' || d.outcome === 'retry')
  if (!open.length) return undefined
  return Math.min(...open.map((d) => (d.next_at ? Date.parse(d.next_at) : 0)))
}

// awaited is whether an event may have an attempt that nobody has planned yet: a page
// that opens in the moment of an alert is faster than what plans.
export function awaited(e: AlertEvent): boolean {
  return e.notified && !e.deliveries?.length && Date.now() - Date.parse(e.ts) < planning
}

// follow loads a resource again, ever more rarely, until its attempts have ended and
// none is awaited. Call it while a component is made.
export function follow<T>(of: Resource<T>, attempts: (v: T) => Delivery[], load: () => unknown, more: (v: T) => boolean = () => false): void {
  let wait = first
  let seen = -1
  $effect(() => {
    if (of.loading || !of.value) return undefined
    const all = attempts(of.value)
    const at = due(all) ?? (more(of.value) ? 0 : undefined)
    if (at === undefined) return undefined
    if (all.length !== seen) wait = first // something moved: look closely again
    seen = all.length
    const timer = setTimeout(load, Math.max(wait, at - Date.now() + first))
    wait = Math.min(wait * 2, most)
    return () => clearTimeout(timer)
  })
}
