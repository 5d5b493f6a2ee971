variable "name" {
  description = "Prefix of all names."
  type        = string
  default     = "edgepulse-dev"
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "azs" {
  description = "Three availability zones."
  type        = list(string)
}

variable "ingress_cidrs" {
  description = "Who may reach the load balancer on port 443: your office, not the world."
  type        = list(string)
}

variable "images" {
  description = "Images by digest."
  type        = object({ edgepulse = string, init = string, collector = string, ecr_repository_arns = list(string) })
}

variable "certificate_arn" {
  description = "ACM certificate of the load balancer."
  type        = string
}

variable "alert_emails" {
  description = "Who is told about alarms."
  type        = list(string)
  default     = []
}

variable "nats" {
  description = "Image of the nodes, the nats-server binary, and the JWTs."
  type = object({
    ami_id = string
    server = object({ bucket = string, key = string, sha256 = string })
    auth   = object({ operator_jwt = string, system_account_id = string, account_jwts = map(string) })
  })
}

# Values of secrets. Give them once by TF_VAR_... from a password store, with the
# version raised; Terraform hands them on and keeps nothing.

variable "nats_tls" {
  description = "Certificate, key and CA of the broker in PEM."
  type        = object({ cert = string, key = string, ca = string })
  default     = null
  ephemeral   = true
}

variable "nats_tls_version" {
  description = "Raise it to write a new certificate."
  type        = number
  default     = 0
}

variable "role_passwords" {
  description = "Passwords of the database roles writer and app."
  type        = object({ writer = string, app = string })
  default     = null
  ephemeral   = true
}

variable "role_passwords_version" {
  description = "Raise it to write new passwords."
  type        = number
  default     = 0
}

variable "secret_values" {
  description = "Values of the stages' secrets by name."
  type        = map(string)
  default     = {}
  ephemeral   = true
}

variable "secret_versions" {
  description = "Which of secret_values to write, with versions."
  type        = map(number)
  default     = {}
}
