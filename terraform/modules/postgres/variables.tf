variable "name" {
  description = "Prefix of all names, for example edgepulse-prod."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the database, by zone, without a route to the internet."
  type        = map(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids: RDS asks for two zones at least."
  }
}

variable "security_group_id" {
  description = "Security group of the database."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of storage, backups and secrets."
  type        = string
}

variable "engine_version" {
  description = "PostgreSQL version. The project's tests run against 15."
  type        = string
  default     = "15"

  validation {
    condition     = can(regex("^1[5-9](\\.[0-9]+)?$", var.engine_version))
    error_message = "engine_version: 15 or later, for example 15 or 15.15."
  }
}

variable "instance_class" {
  description = "Instance class."
  type        = string
  default     = "db.m7g.large"
}

variable "storage" {
  description = "Storage in GiB, and up to where it may grow by itself."
  type        = object({ gib = number, max_gib = number })
  default     = { gib = 200, max_gib = 2000 }

  validation {
    condition     = var.storage.gib >= 20 && var.storage.max_gib >= ceil(var.storage.gib * 1.1)
    error_message = "storage: at least 20 GiB, and max_gib at least a tenth above gib."
  }
}

variable "multi_az" {
  description = "A standby in another zone. Without it the API and the projections wait while a zone is lost; ingest goes on for keys known to the gateway."
  type        = bool
  default     = true
}

variable "backup_retention_days" {
  description = "Days of point-in-time recovery. Projections can be derived again from the logs; tenants, keys, rules and webhooks can't."
  type        = number
  default     = 14

  validation {
    condition     = var.backup_retention_days >= 1 && var.backup_retention_days <= 35
    error_message = "backup_retention_days: 1 to 35; configuration exists nowhere else."
  }
}

variable "deletion_protection" {
  description = "Refuse to delete the database."
  type        = bool
  default     = true
}

variable "role_passwords" {
  description = "Passwords of the roles writer and app, hexadecimal (openssl rand -hex 32). Written to Secrets Manager and nowhere else."
  type        = object({ writer = string, app = string })
  default     = null
  ephemeral   = true

  validation {
    # They become lines of a pgpass file, where ':' and '\' would need escapes.
    condition     = var.role_passwords == null || alltrue([for p in values(coalesce(var.role_passwords, { writer = "", app = "" })) : can(regex("^[0-9a-f]{32,}$", p))])
    error_message = "role_passwords: at least 32 hexadecimal digits each, as openssl rand -hex 32 prints."
  }
}

variable "role_passwords_version" {
  description = "Raise it to write new passwords; 0 = Terraform does not write the secrets."
  type        = number
  default     = 0
}
