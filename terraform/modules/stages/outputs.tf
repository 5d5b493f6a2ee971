output "secret_names" {
  description = "Secrets to fill, by name, with their ARNs."
  value       = { for n, s in aws_secretsmanager_secret.this : n => s.arn }
}

output "migrate_command" {
  description = "Runs the migrations; before the first start, and before every update of the image."
  value = join(" ", [
    "aws ecs run-task --cluster ${aws_ecs_cluster.this.name} --launch-type FARGATE --task-definition ${aws_ecs_task_definition.migrate.family}",
    "--network-configuration 'awsvpcConfiguration={subnets=[${join(",", values(var.network.private_subnet_ids))}],securityGroups=[${var.network.security_group_ids["admin"]}],assignPublicIp=DISABLED}'",
  ])
}

output "load_balancer" {
  description = "DNS name (the origin of the Worker, or of your own DNS record), zone, and what alarms name it by."
  value = {
    dns_name     = aws_lb.this.dns_name
    zone_id      = aws_lb.this.zone_id
    arn_suffix   = aws_lb.this.arn_suffix
    target_group = aws_lb_target_group.gateway.arn_suffix
  }
}

output "cluster" {
  description = "ECS cluster."
  value       = { name = aws_ecs_cluster.this.name, arn = aws_ecs_cluster.this.arn }
}

output "services" {
  description = "ECS services and how many tasks each must have."
  value       = merge({ for k, s in aws_ecs_service.worker : k => 1 }, { gateway = var.gateway.min })
}

output "partition_ranges" {
  description = "Which process owns which partitions."
  value       = { for k, w in local.workers : k => w.partitions }
}

output "discovery_namespace" {
  description = "DNS namespace in which each stage has a name."
  value       = aws_service_discovery_private_dns_namespace.this.name
}

output "buckets" {
  description = "Buckets by purpose."
  value       = local.buckets
}
