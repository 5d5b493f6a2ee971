output "host" {
  description = "Address of the database."
  value       = aws_db_instance.this.address
}

output "database" {
  description = "Name of the database."
  value       = aws_db_instance.this.db_name
}

output "identifier" {
  description = "Identifier of the instance, for alarms."
  value       = aws_db_instance.this.identifier
}

output "owner_secret_arn" {
  description = "Secret of the owner role, managed by RDS: JSON with username and password."
  value       = aws_db_instance.this.master_user_secret[0].secret_arn
}

output "role_secret_arns" {
  description = "Secrets of the roles writer and app: JSON with password."
  value       = { for role, s in aws_secretsmanager_secret.role : role => s.arn }
}
