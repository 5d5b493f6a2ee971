output "kv_namespace_id" {
  description = "KV namespace that `edgepulse edge sync` keeps in step with the keys in Postgres."
  value       = cloudflare_workers_kv_namespace.keys.id
}

output "archive" {
  description = "Input archive of the module stages."
  value       = { r2 = { account_id = var.account_id, bucket = local.buckets.archive } }
}

output "spill_bucket" {
  description = "Bucket of what the origin could not take; the archiver drains it."
  value       = local.buckets.spill
}

output "script_name" {
  description = "The Worker."
  value       = cloudflare_workers_script.edge.script_name
}

output "endpoint" {
  description = "Where sensors send."
  value       = "https://${var.hostname}/v1/ingest"
}
