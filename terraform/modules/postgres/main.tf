# The system of record for SQL: projections of the logs, and configuration (tenants,
# keys, rules, webhooks), which exists nowhere else and is what the backups are for.

resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = values(var.subnet_ids)
}

resource "aws_db_parameter_group" "this" {
  name_prefix = "${var.name}-"
  family      = "postgres${split(".", var.engine_version)[0]}"
  description = "EdgePulse"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  parameter {
    name  = "password_encryption"
    value = "scram-sha-256"
  }

  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }

  # Slow statements are logged without their values.
  parameter {
    name  = "log_parameter_max_length"
    value = "0"
  }

  parameter {
    name  = "idle_in_transaction_session_timeout"
    value = "60000"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "this" {
  identifier     = var.name
  engine         = "postgres"
  engine_version = var.engine_version
  instance_class = var.instance_class
  db_name        = "edgepulse"
  username       = "edgepulse_owner"
  port           = 5432

  # RDS makes, keeps and rotates the owner's password.
  manage_master_user_password   = true
  master_user_secret_kms_key_id = var.kms_key_arn

  storage_type          = "gp3"
  allocated_storage     = var.storage.gib
  max_allocated_storage = var.storage.max_gib
  storage_encrypted     = true
  kms_key_id            = var.kms_key_arn

  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [var.security_group_id]
  parameter_group_name   = aws_db_parameter_group.this.name
  publicly_accessible    = false
  multi_az               = var.multi_az
  ca_cert_identifier     = "rds-ca-rsa2048-g1"

  backup_retention_period     = var.backup_retention_days
  backup_window               = "02:00-03:00"
  maintenance_window          = "sun:03:30-sun:04:30"
  copy_tags_to_snapshot       = true
  delete_automated_backups    = false
  deletion_protection         = var.deletion_protection
  skip_final_snapshot         = false
  final_snapshot_identifier   = "${var.name}-final"
  auto_minor_version_upgrade  = true
  allow_major_version_upgrade = false

  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.kms_key_arn
  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
}

# The roles exist after `edgepulse migrate`, which reads the same secrets.
resource "aws_secretsmanager_secret" "role" {
  for_each                = toset(["writer", "app"])
  name                    = "${var.name}/postgres/${each.key}"
  description             = "JSON with the password of edgepulse_${each.key}."
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = 7
}

resource "aws_secretsmanager_secret_version" "role" {
  for_each                 = var.role_passwords_version > 0 ? aws_secretsmanager_secret.role : {}
  secret_id                = each.value.id
  secret_string_wo         = jsonencode({ password = var.role_passwords[each.key] })
  secret_string_wo_version = var.role_passwords_version
}
