// What the owner of a deployment asks for: with a token that stays in this page's
// memory. It is in no address, no cookie and no storage; leaving the page forgets it.

import { getAs } from './api'

export interface Used {
  requests: number
  points: number
  bytes: number
  evaluations: number
  webhook_attempts: number
  webhooks_delivered: number
}

export interface OwnerTenant {
  id: string
  name: string
  plan: string
  created_at: string
  disabled_at?: string
  deleted_at?: string
  month?: Used
  last_day?: string
  devices: number
  metrics: number
  dead_letters: number
  rejected_24h: number
}

export interface Plan {
  name: string
  points_per_month: number | null
  requests_per_second: number | null
  points_per_second: number | null
  max_metrics: number | null
}

export interface LogStatus {
  log: string
  partition: number
  root: number
  lag: number
  projection_lag: number
  bytes: number
  max_bytes: number
  last_at: string
  owner?: string
}

export interface OwnerStatus {
  logs: LogStatus[]
  dead_letters: { stage: string; partition: number; root: number; index: number; reason: string; detail: string; tenant_id?: string }[]
  outbox: number
}

export interface OwnerView {
  at: number
  tenants: OwnerTenant[]
  plans: Map<string, Plan>
  status: OwnerStatus
}

export async function ownerView(token: string, signal?: AbortSignal): Promise<OwnerView> {
  const [tenants, plans, status] = await Promise.all([
    getAs<{ data: OwnerTenant[] }>(token, '/v1/owner/tenants', signal),
    getAs<{ data: Plan[] }>(token, '/v1/owner/plans', signal),
    getAs<OwnerStatus>(token, '/v1/owner/status', signal),
  ])
  return { at: Date.now(), tenants: tenants.data, plans: new Map(plans.data.map((p) => [p.name, p])), status }
}

export interface Stage {
  log: string
  lag: number
  behind: number // roots that Postgres is behind it
  bytes: number
  full: number // share of its bound, of the fullest partition
  lastAt: number
}

// stages folds the partitions of each log into one line: the worst of them.
export function stages(logs: LogStatus[]): Stage[] {
  const out = new Map<string, Stage>()
  for (const l of logs) {
    const s = out.get(l.log) ?? { log: l.log, lag: 0, behind: 0, bytes: 0, full: 0, lastAt: 0 }
    s.lag = Math.max(s.lag, l.lag)
    s.behind = Math.max(s.behind, l.projection_lag)
    s.bytes += l.bytes
    s.full = Math.max(s.full, l.max_bytes > 0 ? l.bytes / l.max_bytes : 0)
    s.lastAt = Math.max(s.lastAt, Date.parse(l.last_at) || 0)
    out.set(l.log, s)
  }
  return [...out.values()]
}

export type TenantState = 'active' | 'disabled' | 'being deleted'
export const stateOf = (t: OwnerTenant): TenantState => (t.deleted_at ? 'being deleted' : t.disabled_at ? 'disabled' : 'active')
