// Alerts as their events come in: the stream is ahead of what a list can be asked
// for, since it does not wait for the database.

import type { Alert, AlertEvent } from './shapes'

// fold puts an event into a list of alerts, newest first.
export function fold(rows: Alert[], e: AlertEvent): Alert[] {
  const have = rows.find((a) => a.alert_id === e.alert_id)
  if (have && have.ordinal >= e.ordinal) return rows
  const opening = e.state === 'opened' ? { opened_value: e.value, opened_expected: e.expected, opened_explanation: e.explanation ?? '' } : {}
  const next: Alert = { ...have, ...opening, ...e, events: (have?.events ?? 0) + 1, resolved_at: e.state === 'resolved' ? e.ts : null }
  return have ? rows.map((a) => (a === have ? next : a)) : [next, ...rows]
}
