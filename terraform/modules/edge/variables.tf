variable "name" {
  description = "Prefix of all names, for example edgepulse-prod."
  type        = string
}

variable "account_id" {
  description = "Cloudflare account."
  type        = string
}

variable "zone_id" {
  description = "Cloudflare zone of the hostnames."
  type        = string
}

variable "hostname" {
  description = "Public name of the ingest endpoint, served by the Worker, for example ingest.example.com."
  type        = string
}

variable "dashboard_hostname" {
  description = "Public name of the dashboard on Pages; null = the dashboard is served by the gateway only."
  type        = string
  default     = null
}

variable "origin" {
  description = "The gateway behind the Worker: its public name in the zone, and the load balancer that the name points at."
  type        = object({ hostname = string, target = string })
}

variable "worker" {
  description = "The built Worker (go tool task edge:build): path of the bundle, and the date whose runtime behaviour it was tested with."
  type        = object({ bundle = string, compatibility_date = string })

  validation {
    condition     = can(regex("^20[0-9]{2}-[0-9]{2}-[0-9]{2}$", var.worker.compatibility_date))
    error_message = "worker.compatibility_date: YYYY-MM-DD."
  }
}

variable "bindings" {
  description = "Names by which the Worker knows its bindings. They must be those of gateway/worker/wrangler.jsonc."
  type = object({
    keys         = optional(string, "KEYS")
    spill        = optional(string, "SPILL")
    origin       = optional(string, "ORIGIN")
    rate_limit   = optional(string, "RATE_LIMIT")
    edge_secrets = optional(string, "EDGE_SECRETS")
    edge_pepper  = optional(string, "EDGE_PEPPER")
  })
  default = {}
}

variable "edge_secrets" {
  description = "Shared secrets that sign requests to the gateway (EDGEPULSE_EDGE_SECRETS there): new first, then the one it replaces. Stand in the state: Cloudflare's provider has no write-only attribute for them."
  type        = string
  sensitive   = true

  validation {
    condition     = length(var.edge_secrets) >= 32
    error_message = "edge_secrets: at least 32 characters, as openssl rand -hex 32 prints."
  }
}

variable "edge_pepper" {
  description = "Key of the hashes in KV, another than the gateway's pepper: what the edge holds can't forge what Postgres verifies. Stands in the state, as edge_secrets."
  type        = string
  sensitive   = true

  validation {
    condition     = length(var.edge_pepper) >= 32
    error_message = "edge_pepper: at least 32 characters, as openssl rand -hex 32 prints."
  }
}

variable "bucket_location" {
  description = "Where R2 keeps the buckets: weur, eeur, wnam, enam or apac."
  type        = string
  default     = "weur"

  validation {
    condition     = contains(["weur", "eeur", "wnam", "enam", "apac"], var.bucket_location)
    error_message = "bucket_location: weur, eeur, wnam, enam or apac."
  }
}

variable "archive_lock_days" {
  description = "Days for which R2 refuses to delete or overwrite an archived segment."
  type        = number
  default     = 30
}

variable "archive_cool_days" {
  description = "After how many days segments move to infrequent access."
  type        = number
  default     = 30
}

variable "key_requests_per_minute" {
  description = "Requests of one key a minute and location, at the Worker."
  type        = number
  default     = 6000
}

variable "address_requests_per_10s" {
  description = "Requests of one address in ten seconds, before the Worker runs: it costs the flood, not us."
  type        = number
  default     = 2000
}
