// What a rule means, in one paragraph: the same conditions as the alerter's, in
// the same order.

import { duration, goDuration, number } from './format'
import type { AlertRule } from './shapes'

const list = (words: string[], last = 'or') => (words.length < 2 ? (words[0] ?? '') : `${words.slice(0, -1).join(', ')} ${last} ${words.at(-1)}`)
const time = (text: string | undefined) => duration(goDuration(text ?? ''))

export function where(r: AlertRule): string {
  const device = r.device_ids?.length ? `${r.device_ids.length} chosen ${r.device_ids.length === 1 ? 'device' : 'devices'}` : r.device_pattern ? `devices like “${r.device_pattern}”` : ''
  const metric = r.metric_ids?.length ? `${r.metric_ids.length} chosen ${r.metric_ids.length === 1 ? 'metric' : 'metrics'}` : r.metric_pattern ? `metrics like “${r.metric_pattern}”` : ''
  const tags = Object.entries(r.tags ?? {}).map(([k, v]) => `${k}=${v}`)
  const base = metric && device ? `${metric} of ${device}` : metric || (device ? `every metric of ${device}` : 'every metric')
  return tags.length ? `${base} tagged ${list(tags, 'and')}` : base
}

export function when(r: AlertRule): string {
  const kind = r.labels?.length ? `a ${list(r.labels)}` : 'an anomaly of any kind'
  const conditions: string[] = []
  if (r.min_severity) conditions.push(r.min_severity === 'critical' ? 'its severity is critical' : `its severity is ${r.min_severity} or worse`)
  else if (!r.min_score) conditions.push('its severity is info or worse')
  if (r.min_score) conditions.push(`its score is at least ${r.min_score}`)
  if (r.direction === 'up') conditions.push('the value lies above what was expected')
  if (r.direction === 'down') conditions.push('the value lies below what was expected')
  if (r.min_abs_deviation) conditions.push(`it deviates by at least ${number(r.min_abs_deviation)}`)
  if (r.min_rel_deviation) conditions.push(`it deviates by at least ${number(r.min_rel_deviation * 100)} % of what was expected`)
  return `${kind}, when ${list(conditions, 'and')}`
}

export function sentences(r: AlertRule): string[] {
  const out = [`Watches ${where(r)} for ${when(r)}.`]
  out.push(goDuration(r.for ?? '') > 0 ? `Opens an alert once that has held for ${time(r.for)}.` : 'Opens an alert at once.')
  const calm = r.resolve_score ? `the score has fallen below ${r.resolve_score}` : 'the condition no longer holds'
  out.push(goDuration(r.resolve_after ?? '') > 0 ? `Resolves it when ${calm} for ${time(r.resolve_after)}.` : `Resolves it as soon as ${calm}.`)
  if (goDuration(r.update_every ?? '') > 0) out.push(`Tells of an open alert again every ${time(r.update_every)} at most.`)
  if (goDuration(r.cooldown ?? '') > 0) out.push(`After it was resolved, the same metric opens none for ${time(r.cooldown)}.`)
  if (r.direction === 'up' || r.direction === 'down' || r.min_abs_deviation || r.min_rel_deviation)
    out.push('A metric that is silent or stuck deviates from nothing and is not caught by this rule.')
  if (r.notify_backfill) out.push('Also tells of anomalies in data that is sent later as backfill.')
  if (r.enabled === false) out.push('It is switched off.')
  return out
}
