output "prometheus_endpoint" {
  description = "Query endpoint for Grafana (SigV4)."
  value       = aws_prometheus_workspace.this.prometheus_endpoint
}

output "alarm_topic_arn" {
  description = "Topic that everything tells."
  value       = aws_sns_topic.alarms.arn
}
