variable "worker_bundle" {
  description = "Path of the built Worker."
  type        = string
}

variable "cloudflare_ranges" {
  description = "Addresses of https://www.cloudflare.com/ips/."
  type        = list(string)
}

variable "nats_tls" {
  description = "Certificate, key and CA of the broker in PEM."
  type        = object({ cert = string, key = string, ca = string })
  ephemeral   = true
}

variable "role_passwords" {
  description = "Passwords of the database roles writer and app."
  type        = object({ writer = string, app = string })
  ephemeral   = true
}

variable "secret_values" {
  description = "Values of the secrets pepper and secret-key."
  type        = map(string)
  ephemeral   = true
}

variable "edge_secret" {
  description = "Signs requests from the Worker to the gateway."
  type        = string
  sensitive   = true
}

variable "edge_pepper" {
  description = "Key of the hashes in KV."
  type        = string
  sensitive   = true
}
