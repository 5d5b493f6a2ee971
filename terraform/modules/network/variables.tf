variable "name" {
  description = "Prefix of all names, for example edgepulse-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name))
    error_message = "name: 3 to 22 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "region" {
  description = "AWS region, for example eu-central-1. VPC endpoints are named after it."
  type        = string
}

variable "azs" {
  description = "Availability zones. Three, so that a majority of NATS survives the loss of one."
  type        = list(string)

  validation {
    condition     = length(var.azs) == 3 && length(distinct(var.azs)) == 3
    error_message = "azs: name three different availability zones; with fewer the loss of one stops the logs."
  }
}

variable "cidr" {
  description = "Addresses of the VPC. Each availability zone takes three /24 of it."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.cidr, 8, 12)) && tonumber(split("/", var.cidr)[1]) <= 20
    error_message = "cidr: an IPv4 range of /20 or larger, for example 10.42.0.0/16."
  }
}

variable "nat_gateway_per_az" {
  description = "A NAT gateway in each zone instead of one for all. With one, webhooks stop when its zone is lost; the logs don't."
  type        = bool
  default     = true
}

variable "ingress_cidrs" {
  description = "Who may reach the load balancer on port 443. Behind the Worker these are Cloudflare's ranges (https://www.cloudflare.com/ips/)."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = length(var.ingress_cidrs) > 0 && alltrue([for c in var.ingress_cidrs : can(cidrnetmask(c))])
    error_message = "ingress_cidrs: at least one IPv4 range."
  }
}

variable "archive_outside_aws" {
  description = "The archive is in R2: the archiver must reach it on port 443."
  type        = bool
  default     = true
}

variable "flow_log_retention_days" {
  description = "How long the VPC's flow logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.flow_log_retention_days)
    error_message = "flow_log_retention_days: a number of days that CloudWatch knows, for example 30."
  }
}
