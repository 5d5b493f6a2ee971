// The JSON shapes of the API, as schemas/api has them. Times are RFC 3339 in UTC.

export type Severity = 'none' | 'info' | 'warning' | 'critical'
export type Label = 'spike' | 'drop' | 'drift' | 'missingness' | 'stuck'
export const labels: readonly Label[] = ['spike', 'drop', 'drift', 'missingness', 'stuck']
export const severities = ['critical', 'warning', 'info'] as const

export interface Page<T> {
  data: T[]
  has_more: boolean
  next_cursor?: string
}

export interface Session {
  tenant_id: string
  tenant_name: string
  key_id: string
  key_name: string
  scopes: string[]
  expires_at: string
}

export interface Overview {
  now: string
  devices: number
  metrics: number
  open_alerts: number
  points_per_second: number
  points_24h: number
  anomalies_per_hour: ({ hour: string } & Record<Label, number>)[]
  ingest_per_minute: { minute: string; points: number; requests: number; rejected: number }[]
  silent: Silent[]
  worst: Metric[]
}

export interface Silent {
  metric_id: string
  device_id: string
  device_external_id: string
  metric_name: string
  last_ts: string
  silent_for_seconds: number
}

export interface Device {
  id: string
  device_external_id: string
  first_seen: string
  metrics: number
  last_seen?: string
  silent?: boolean
  worst_severity_24h?: Severity
  anomalies_24h?: number
}

export type WarmUp = 'warming' | 'calibrating' | 'learning' | 'trusted'

export interface Metric {
  id: string
  device_id: string
  device_external_id: string
  name: string
  unit?: string
  first_seen: string
  last_value?: number | null
  last_ts?: string
  warm_up?: WarmUp
  worst_severity_24h?: Severity
  anomalies_24h?: number
  spark?: (number | null)[]
}

export interface Contribution {
  name: string
  share: number
}

// What a score and an alert event have in common: one judgement of one window.
export interface Judgement {
  metric_id: string
  device_id: string
  ts: string
  window_start: string
  window_end: string
  value: number
  score: number
  alarm_score: number
  severity: Severity
  label?: Label
  sub_label?: string
  expected: number | null
  lower: number | null
  upper: number | null
  explanation?: string
  contributors?: Contribution[]
  backfill?: boolean
  root: number
}

export interface Score extends Judgement {
  device_external_id?: string
  metric_name?: string
  warm_up: WarmUp
  warm_up_eta_seconds?: number
  model_version?: string
  tick?: boolean
}

export interface Delivery {
  webhook_id: string
  endpoint_id: string
  attempt: number
  at: string
  outcome: 'planned' | 'delivered' | 'retry' | 'gave_up'
  status?: number
  error?: string
  next_at?: string
}

export interface AlertEvent extends Judgement {
  event_id: string
  alert_id: string
  rule_id: string
  rule_name: string
  device_external_id: string
  metric_name: string
  unit?: string
  state: 'opened' | 'updated' | 'resolved'
  ordinal: number
  opened_at: string
  notified: boolean
  suppressed_by?: string
  partition: number
  deliveries?: Delivery[]
}

// An alert is its latest event, folded over its history.
export interface Alert extends AlertEvent {
  resolved_at?: string | null
  opened_value?: number
  opened_expected?: number | null
  opened_explanation?: string
  events: number
  history?: AlertEvent[]
}

export interface SeriesPoint {
  ts: string
  min: number
  max: number
  avg: number
  last: number
  count: number
  expected?: number | null
  lower?: number | null
  upper?: number | null
  score?: number | null
  alarm_score?: number | null
}

export interface Series {
  metric_id: string
  from: string
  to: string
  step_seconds: number
  raw: boolean
  points: SeriesPoint[]
  anomalies: Score[]
  anomalies_cut?: boolean
}

export interface TracePoint {
  ts: string
  value: number
  flags?: string[]
  root: number
  partition: number
}

// An alert event walked back to the bytes that caused it.
export interface EventTrace {
  event: AlertEvent
  rule: AlertRule | null // as it is now
  score: Score | null
  features: Record<string, unknown> | null
  points: TracePoint[]
  request: (Receipt & { key_id: string }) | null // null: a tick of the clock caused it
  raw: { partition: number; root: number; device_json: string; truncated: boolean; bytes: number; body_sha256: string; source: string } | null
  stages: { stage: string; at: string }[]
}

// A delivery with what it delivered, as the log of an endpoint has it.
export interface DeliveryOfEvent extends Delivery {
  event_id: string
  alert_id: string
  state: AlertEvent['state']
  severity: Severity
  label?: Label
  device_external_id: string
  metric_name: string
}

export interface AlertRule {
  id?: string
  name: string
  device_pattern?: string
  metric_pattern?: string
  device_ids?: string[]
  metric_ids?: string[]
  tags?: Record<string, string>
  min_score?: number
  min_severity?: string
  labels?: string[]
  direction?: string
  min_abs_deviation?: number
  min_rel_deviation?: number
  for?: string
  resolve_score?: number
  resolve_after?: string
  cooldown?: string
  update_every?: string
  enabled?: boolean
  notify_backfill?: boolean
  version?: number
  created_at?: string
  updated_at?: string
}

export interface Webhook {
  id?: string
  url: string
  description?: string
  min_severity?: string
  enabled?: boolean
  disabled_reason?: string
  secret?: string
  created_at?: string
}

export interface WebhookTest {
  outcome: string
  status?: number
  error?: string
  duration_ms?: number
}

export interface Rejection {
  pointer: string
  code: string
  detail?: string
}

export interface Receipt {
  batch_id: string
  complete: boolean
  parts: number
  parts_done: number
  received_at: string
  points: number
  accepted: number
  duplicate: number
  conflicting: number
  late: number
  rejected: number
  rejections?: Rejection[]
  repeat?: boolean
  backfill?: boolean
  source?: string
}

export interface ItemError {
  pointer: string
  code: string
  detail: string
}
