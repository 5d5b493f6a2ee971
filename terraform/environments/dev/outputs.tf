output "load_balancer" {
  description = "Where the API is; point a DNS record at it."
  value       = module.service.load_balancer.dns_name
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
