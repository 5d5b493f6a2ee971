output "load_balancer" {
  description = "DNS name and zone of the load balancer: the Worker's origin."
  value       = module.stages.load_balancer
}

output "secrets" {
  description = "Secrets to fill before the stages can start, by name."
  value = merge(module.stages.secret_names, {
    "nats-tls"        = module.nats.tls_secret_arn
    "postgres-writer" = module.postgres.role_secret_arns["writer"]
    "postgres-app"    = module.postgres.role_secret_arns["app"]
  })
}

output "migrate_command" {
  description = "Runs the migrations."
  value       = module.stages.migrate_command
}

output "nats_url" {
  description = "Where the broker is, inside."
  value       = module.nats.url
}

output "webhook_source_ips" {
  description = "Addresses that webhooks come from."
  value       = module.network.nat_public_ips
}

output "prometheus_endpoint" {
  description = "For Grafana."
  value       = module.observability.prometheus_endpoint
}

output "partition_ranges" {
  description = "Which process owns which partitions."
  value       = module.stages.partition_ranges
}
