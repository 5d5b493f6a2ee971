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

variable "edge_secret" {
  description = "Signs what the Worker sends to the gateway and spills: one of EDGEPULSE_EDGE_SECRETS there. It stands in the state: Cloudflare's provider has no write-only attribute for bindings."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.edge_secret))
    error_message = "edge_secret: 64 hexadecimal digits, as openssl rand -hex 32 prints."
  }
}

variable "edge_pepper" {
  description = "Keys the hashes in KV; `edgepulse edge secrets` prints it, derived one way from the gateway's pepper: what the edge holds can't forge what Postgres verifies. It stands in the state, as edge_secret."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.edge_pepper))
    error_message = "edge_pepper: 64 hexadecimal digits."
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

variable "stranger_requests_per_minute" {
  description = "Requests a minute and location of one address with keys that the edge does not know."
  type        = number
  default     = 60
}

variable "address_requests_per_10s" {
  description = "Requests of one address in ten seconds, before the Worker runs: it costs the flood, not us."
  type        = number
  default     = 2000
}
