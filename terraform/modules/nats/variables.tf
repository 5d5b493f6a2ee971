variable "name" {
  description = "Prefix of all names, for example edgepulse-prod."
  type        = string
}

variable "region" {
  description = "AWS region; nodes fetch their secrets from it."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the private DNS zone."
  type        = string
}

variable "subnet_ids" {
  description = "One subnet per availability zone, by zone; one node goes into each."
  type        = map(string)

  validation {
    condition     = length(var.subnet_ids) == 3
    error_message = "subnet_ids: three zones, one node in each."
  }
}

variable "security_group_id" {
  description = "Security group of the nodes."
  type        = string
}

variable "ami_id" {
  description = "Amazon Linux 2023 image for the architecture of instance_type. Pinned, so that a plan never replaces nodes because an image was published."
  type        = string

  validation {
    condition     = startswith(var.ami_id, "ami-")
    error_message = "ami_id: an image id, ami-..."
  }
}

variable "instance_type" {
  description = "Instance type of a node."
  type        = string
  default     = "m7g.large"
}

variable "volume" {
  description = "Disk of the logs, per node. Every message is fsync'd, so IOPS bound the commits per second."
  type        = object({ size_gib = number, iops = number, throughput_mib = number })
  default     = { size_gib = 200, iops = 6000, throughput_mib = 250 }

  validation {
    condition     = var.volume.size_gib >= 20 && var.volume.iops >= 3000 && var.volume.iops <= 16000 && var.volume.throughput_mib >= 125 && var.volume.throughput_mib <= 1000
    error_message = "volume: at least 20 GiB, 3000 to 16000 IOPS, 125 to 1000 MiB/s."
  }
}

variable "server" {
  description = "The nats-server binary: an object in S3 (the nodes have no way to the internet) and its SHA-256. Version 2.15 or later: earlier ones could lose acknowledged messages in a power cut."
  type        = object({ bucket = string, key = string, sha256 = string })

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.server.sha256))
    error_message = "server.sha256: 64 hexadecimal digits."
  }
}

variable "auth" {
  description = "Decentralised authentication, made with nsc: the operator's JWT, the id of the system account, and the accounts' JWTs by id. They are signed and public; the seeds stay with you, users' credentials go into Secrets Manager (stages)."
  type        = object({ operator_jwt = string, system_account_id = string, account_jwts = map(string) })

  validation {
    condition     = contains(keys(var.auth.account_jwts), var.auth.system_account_id)
    error_message = "auth.account_jwts: must hold the system account too."
  }
}

variable "tls" {
  description = "Certificate, key and CA in PEM, for *.<name>.internal, server and client authentication. Written to Secrets Manager and nowhere else; version = 0 leaves the secret to be filled by hand."
  type        = object({ cert = string, key = string, ca = string })
  default     = null
  ephemeral   = true
}

variable "tls_version" {
  description = "Raise it to write a new certificate; 0 = Terraform does not write the secret."
  type        = number
  default     = 0
}

variable "kms_key_arn" {
  description = "Key of volumes and secrets."
  type        = string
}
