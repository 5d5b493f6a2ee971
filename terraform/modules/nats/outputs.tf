output "url" {
  description = "EDGEPULSE_NATS_URL of the stages."
  value       = join(",", [for az in local.azs : "tls://${local.hosts[az]}:4222"])
}

output "monitor_url" {
  description = "EDGEPULSE_NATS_MONITOR_URL: stages refuse a server that does not fsync."
  value       = "https://nats.${local.zone}:8222"
}

output "tls_secret_arn" {
  description = "Secret with the certificate; fill it before the first node starts."
  value       = aws_secretsmanager_secret.tls.arn
}

output "zone_id" {
  description = "Private DNS zone."
  value       = aws_route53_zone.internal.zone_id
}

output "instance_ids" {
  description = "Nodes by zone, for alarms."
  value       = { for az, i in aws_instance.node : az => i.id }
}

output "max_store_bytes" {
  description = "What all logs together may take: the upper bound of EDGEPULSE_LOG_MAX_BYTES (every node holds a replica)."
  value       = floor(var.volume.size_gib * 0.9) * 1073741824
}
