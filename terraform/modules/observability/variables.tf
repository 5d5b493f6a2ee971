variable "name" {
  description = "Prefix of all names, for example edgepulse-prod."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "kms_key_arn" {
  description = "Key of the workspace, the topic and the log groups. Its policy must let CloudWatch Logs and CloudWatch use it (the module service does)."
  type        = string
}

variable "cluster" {
  description = "ECS cluster of the stages, where the collector runs too."
  type        = object({ name = string, arn = string })
}

variable "services" {
  description = "ECS services and how many tasks each must have; fewer is an alarm."
  type        = map(number)
}

variable "discovery_namespace" {
  description = "DNS namespace of the stages."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the collector."
  type        = list(string)
}

variable "security_group_id" {
  description = "Security group of the collector."
  type        = string
}

variable "collector_image" {
  description = "Image of Prometheus (prom/prometheus), by digest."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.collector_image))
    error_message = "collector_image: name it by digest, REPOSITORY@sha256:..."
  }
}

variable "ecr_repository_arns" {
  description = "ECR repository of the collector's image, in this region."
  type        = list(string)
}

variable "rule_files" {
  description = "Recording and alert rules, by name: contents of dashboard/prometheus/*.yml."
  type        = map(string)
  default     = {}
}

variable "alert_emails" {
  description = "Who is told. Each address must confirm the subscription."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for a in var.alert_emails : can(regex("^[^@ ]+@[^@ ]+$", a))])
    error_message = "alert_emails: addresses."
  }
}

variable "load_balancer" {
  description = "What alarms name the load balancer and its targets by (output load_balancer of stages)."
  type        = object({ arn_suffix = string, target_group = string })
}

variable "database" {
  description = "RDS instance and the free GiB below which to tell."
  type        = object({ identifier = string, min_free_gib = optional(number, 20) })
}

variable "nats_instance_ids" {
  description = "NATS nodes by zone."
  type        = map(string)
}

variable "log_retention_days" {
  description = "How long the collector's and the workspace's logs are kept."
  type        = number
  default     = 30
}
