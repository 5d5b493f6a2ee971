variable "name" {
  description = "Prefix of all names, for example edgepulse-prod."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "network" {
  description = "Where the stages live: outputs of the module network."
  type = object({
    vpc_id             = string
    public_subnet_ids  = map(string)
    private_subnet_ids = map(string)
    security_group_ids = map(string)
  })
}

variable "kms_key_arn" {
  description = "Key of buckets, secrets and log groups. Its policy must let CloudWatch Logs use it (the module service does)."
  type        = string
}

variable "image" {
  description = "Image of EdgePulse, by digest: REPOSITORY@sha256:... A tag can be moved under a running service."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "image: name it by digest, REPOSITORY@sha256:..."
  }
}

variable "init_image" {
  description = "Image with a shell (busybox) that writes secrets into files before a stage starts, by digest."
  type        = string

  validation {
    condition     = can(regex("@sha256:[0-9a-f]{64}$", var.init_image))
    error_message = "init_image: name it by digest, REPOSITORY@sha256:..."
  }
}

variable "ecr_repository_arns" {
  description = "ECR repositories of the two images, in this region. Folds have no way to any other registry; a pull-through cache is one of ECR."
  type        = list(string)

  validation {
    condition     = length(var.ecr_repository_arns) > 0 && alltrue([for a in var.ecr_repository_arns : can(regex("^arn:aws:ecr:[a-z0-9-]+:[0-9]{12}:repository/[^*]+$", a))])
    error_message = "ecr_repository_arns: at least one, arn:aws:ecr:REGION:ACCOUNT:repository/NAME."
  }
}

variable "run_as" {
  description = "User and group id of the image."
  type        = number
  default     = 65532
}

variable "architecture" {
  description = "ARM64 or X86_64. One for all stages: float results are byte-equal on one architecture only."
  type        = string
  default     = "ARM64"

  validation {
    condition     = contains(["ARM64", "X86_64"], var.architecture)
    error_message = "architecture: ARM64 or X86_64."
  }
}

variable "partitions" {
  description = "Partitions of the deployment (EDGEPULSE_PARTITIONS). Fixed for its life: a device's partition is its hash modulo this number."
  type        = number
  default     = 16

  validation {
    condition     = var.partitions >= 1 && var.partitions <= 1024 && floor(var.partitions) == var.partitions
    error_message = "partitions: a whole number from 1 to 1024."
  }
}

variable "workers" {
  description = "How many processes share the partitions of a stage; each owns a contiguous range."
  type        = map(number)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.workers), ["normaliser", "featurizer", "scorer", "alerter", "deliverer", "projector", "archiver"])) == 0
    error_message = "workers: known are normaliser, featurizer, scorer, alerter, deliverer, projector and archiver. The gateway has its own setting."
  }
  validation {
    condition     = alltrue([for n in values(var.workers) : n >= 1 && n <= var.partitions])
    error_message = "workers: from 1 to the number of partitions."
  }
}

variable "sizes" {
  description = "CPU units and MiB of a task by stage; a combination that Fargate knows."
  type        = map(object({ cpu = number, memory = number }))
  default     = {}
}

variable "gateway" {
  description = "How many gateways: at least two, more when their CPU is busy."
  type        = object({ min = number, max = number, cpu_target = optional(number, 60) })
  default     = { min = 2, max = 8 }

  validation {
    condition     = var.gateway.min >= 2 && var.gateway.max >= var.gateway.min
    error_message = "gateway: at least 2 (a deployment or a lost zone must not be an outage), and max not below min."
  }
}

variable "certificate_arn" {
  description = "ACM certificate of the load balancer."
  type        = string
}

variable "load_balancer" {
  description = "Access logs go to this bucket when set; deletion_protection refuses to delete the load balancer."
  type        = object({ access_log_bucket = optional(string), deletion_protection = optional(bool, true) })
  default     = {}
}

variable "nats" {
  description = "Outputs of the module nats."
  type        = object({ url = string, monitor_url = string })
}

variable "log_max_bytes" {
  description = "Bytes reserved for all logs together (EDGEPULSE_LOG_MAX_BYTES), at most the broker's max_file_store."
  type        = number
  default     = 137438953472
}

variable "postgres" {
  description = "Outputs of the module postgres."
  type        = object({ host = string, database = string, owner_secret_arn = string, role_secret_arns = map(string) })
}

variable "archive" {
  description = "Where the archive is: r2 = { account_id, bucket } (made by the module edge; needed when the Worker spills, because the drain reads the same store), or null for an S3 bucket of this module."
  type        = object({ r2 = optional(object({ account_id = string, bucket = string })) })
  default     = {}
}

variable "archive_transition_days" {
  description = "After how many days S3 moves segments to infrequent access. For an archive in R2 see the module edge."
  type        = number
  default     = 30
}

variable "settings" {
  description = "More settings of stages as EDGEPULSE_* variables, by stage, for example { gateway = { EDGEPULSE_WEBHOOK_ALLOW = \"...\" } }. Never secrets."
  type        = map(map(string))
  default     = {}

  validation {
    condition     = !anytrue([for k in flatten([for s in values(var.settings) : keys(s)]) : can(regex("PEPPER|SECRET|PASSWORD|TOKEN|CREDS|ACCESS_KEY", k))])
    error_message = "settings: this is plain text in the task definition; give secrets by extra_secrets."
  }
}

variable "extra_secrets" {
  description = "More secrets of stages: EDGEPULSE_* variable to the ARN of its secret, by stage."
  type        = map(map(string))
  default     = {}
}

variable "secret_values" {
  description = "Values by name of the secret (see the output secret_names): pepper, secret-key, ca-bundle, nats-creds-<stage>, r2-archiver. Written to Secrets Manager and nowhere else."
  type        = map(string)
  default     = {}
  ephemeral   = true
}

variable "secret_versions" {
  description = "Which of secret_values to write: name to a version that is raised for a new value. Those not named are filled by hand."
  type        = map(number)
  default     = {}
}

variable "log_retention_days" {
  description = "How long the stages' logs are kept."
  type        = number
  default     = 30
}

variable "log_level" {
  description = "debug, info, warn or error."
  type        = string
  default     = "info"

  validation {
    condition     = contains(["debug", "info", "warn", "error"], var.log_level)
    error_message = "log_level: debug, info, warn or error."
  }
}
