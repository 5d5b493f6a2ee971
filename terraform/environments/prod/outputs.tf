output "endpoint" {
  description = "Where sensors send."
  value       = module.edge.endpoint
}

output "kv_namespace_id" {
  description = "For `edgepulse edge sync`."
  value       = module.edge.kv_namespace_id
}

output "webhook_source_ips" {
  description = "Addresses that webhooks come from."
  value       = module.service.webhook_source_ips
}

output "secrets" {
  description = "Secrets to fill."
  value       = module.service.secrets
}

output "migrate_command" {
  description = "Runs the migrations."
  value       = module.service.migrate_command
}

output "prometheus_endpoint" {
  description = "For Grafana."
  value       = module.service.prometheus_endpoint
}
