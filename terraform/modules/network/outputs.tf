output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "public_subnet_ids" {
  description = "Subnets of the load balancer, by zone."
  value       = { for az, s in aws_subnet.public : az => s.id }
}

output "private_subnet_ids" {
  description = "Subnets of the stages, by zone."
  value       = { for az, s in aws_subnet.private : az => s.id }
}

output "data_subnet_ids" {
  description = "Subnets of NATS and Postgres, by zone."
  value       = { for az, s in aws_subnet.data : az => s.id }
}

output "security_group_ids" {
  description = "Security groups by role: lb, gateway, fold, projector, deliverer, archiver, admin, collector, nats, postgres, endpoints."
  value       = { for role, g in aws_security_group.this : role => g.id }
}

output "nat_public_ips" {
  description = "Addresses that webhooks come from; receivers may want to allow them."
  value       = [for e in aws_eip.nat : e.public_ip]
}
