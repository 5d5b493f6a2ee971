mock_provider "aws" {
  mock_resource "aws_db_instance" {
    defaults = {
      address            = "db.internal"
      master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:owner-AbCdEf", kms_key_id = "key", secret_status = "active" }]
    }
  }
}

variables {
  role_passwords    = { writer = "0123456789abcdef0123456789abcdef", app = "fedcba9876543210fedcba9876543210" }
  name              = "edgepulse"
  subnet_ids        = { "eu-central-1a" = "subnet-a", "eu-central-1b" = "subnet-b" }
  security_group_id = "sg-postgres"
  kms_key_arn       = "arn:aws:kms:eu-central-1:111122223333:key/1"
}

run "safe" {
  command = apply
  variables {
    role_passwords_version = 1
  }
  assert {
    condition     = aws_db_instance.this.storage_encrypted && !aws_db_instance.this.publicly_accessible && aws_db_instance.this.deletion_protection && aws_db_instance.this.multi_az
    error_message = "Encrypted, private, protected, with a standby."
  }
  assert {
    condition     = aws_db_instance.this.manage_master_user_password && aws_db_instance.this.password == null
    error_message = "RDS keeps the owner's password."
  }
  assert {
    condition     = one([for p in aws_db_parameter_group.this.parameter : p.value if p.name == "rds.force_ssl"]) == "1"
    error_message = "TLS only."
  }
  assert {
    condition     = aws_db_parameter_group.this.family == "postgres15"
    error_message = "The family follows the engine's version."
  }
  assert {
    condition     = alltrue([for v in aws_secretsmanager_secret_version.role : v.secret_string_wo == null && v.secret_string == null])
    error_message = "Passwords don't enter the state."
  }
  assert {
    condition     = output.owner_secret_arn == "arn:aws:secretsmanager:eu-central-1:111122223333:secret:owner-AbCdEf"
    error_message = "The owner's secret is RDS's."
  }
}

run "newer" {
  command = apply
  variables {
    engine_version = "17.4"
  }
  assert {
    condition     = aws_db_parameter_group.this.family == "postgres17"
    error_message = "The family follows the engine's version."
  }
}

run "no_backups" {
  command = plan
  variables {
    backup_retention_days = 0
  }
  expect_failures = [var.backup_retention_days]
}

run "weak_password" {
  command = plan
  variables {
    role_passwords         = { writer = "hunter2", app = "fedcba9876543210fedcba9876543210" }
    role_passwords_version = 1
  }
  expect_failures = [var.role_passwords]
}
