variable "name" {
  description = "Prefix of all names, for example edgepulse-prod."
  type        = string
}

variable "region" {
  description = "AWS region, for example eu-central-1."
  type        = string
}

variable "azs" {
  description = "Three availability zones."
  type        = list(string)
}

variable "cidr" {
  description = "Addresses of the VPC."
  type        = string
  default     = "10.42.0.0/16"
}

variable "nat_gateway_per_az" {
  description = "A NAT gateway per zone instead of one for all."
  type        = bool
  default     = true
}

variable "ingress_cidrs" {
  description = "Who may reach the load balancer on port 443."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "architecture" {
  description = "ARM64 or X86_64, of the stages' images."
  type        = string
  default     = "ARM64"
}

variable "images" {
  description = "Images by digest: EdgePulse, a busybox for the init containers, Prometheus; and the ECR repositories of this region that they are in."
  type        = object({ edgepulse = string, init = string, collector = string, ecr_repository_arns = list(string) })
}

variable "certificate_arn" {
  description = "ACM certificate of the load balancer."
  type        = string
}

variable "access_log_bucket" {
  description = "Bucket for the load balancer's access logs, or null."
  type        = string
  default     = null
}

variable "partitions" {
  description = "Partitions of the deployment; fixed for its life."
  type        = number
  default     = 16
}

variable "workers" {
  description = "Processes per stage that share its partitions."
  type        = map(number)
  default     = {}
}

variable "sizes" {
  description = "CPU units and MiB of a task by stage."
  type        = map(object({ cpu = number, memory = number }))
  default     = {}
}

variable "gateway" {
  description = "How many gateways."
  type        = object({ min = number, max = number, cpu_target = optional(number, 60) })
  default     = { min = 2, max = 8 }
}

variable "nats" {
  description = "The broker: see the module nats."
  type = object({
    ami_id        = string
    instance_type = optional(string, "m7g.large")
    volume        = optional(object({ size_gib = number, iops = number, throughput_mib = number }), { size_gib = 200, iops = 6000, throughput_mib = 250 })
    server        = object({ bucket = string, key = string, sha256 = string })
    auth          = object({ operator_jwt = string, system_account_id = string, account_jwts = map(string) })
  })
}

variable "nats_tls" {
  description = "Certificate, key and CA of the broker in PEM; see the module nats."
  type        = object({ cert = string, key = string, ca = string })
  default     = null
  ephemeral   = true
}

variable "nats_tls_version" {
  description = "Raise it to write a new certificate."
  type        = number
  default     = 0
}

variable "postgres" {
  description = "The database: see the module postgres."
  type = object({
    instance_class        = optional(string, "db.m7g.large")
    storage               = optional(object({ gib = number, max_gib = number }), { gib = 200, max_gib = 2000 })
    multi_az              = optional(bool, true)
    backup_retention_days = optional(number, 14)
  })
  default = {}
}

variable "role_passwords" {
  description = "Passwords of the database roles writer and app; see the module postgres."
  type        = object({ writer = string, app = string })
  default     = null
  ephemeral   = true
}

variable "role_passwords_version" {
  description = "Raise it to write new passwords."
  type        = number
  default     = 0
}

variable "deletion_protection" {
  description = "Refuse to delete database and load balancer."
  type        = bool
  default     = true
}

variable "archive" {
  description = "Archive in R2 (output archive of the module edge), or {} for S3."
  type        = object({ r2 = optional(object({ account_id = string, bucket = string })) })
  default     = {}
}

variable "settings" {
  description = "More settings of stages, by stage; never secrets."
  type        = map(map(string))
  default     = {}
}

variable "extra_secrets" {
  description = "More secrets of stages: variable to secret ARN, by stage."
  type        = map(map(string))
  default     = {}
}

variable "secret_values" {
  description = "Values of secrets by name; see the module stages."
  type        = map(string)
  default     = {}
  ephemeral   = true
}

variable "secret_versions" {
  description = "Which of secret_values to write."
  type        = map(number)
  default     = {}
}

variable "rule_files" {
  description = "Prometheus rules by name."
  type        = map(string)
  default     = {}
}

variable "alert_emails" {
  description = "Who is told about alarms."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 30
}
