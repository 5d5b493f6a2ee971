# Production: the Worker in front, the archive in R2, a standby database, every
# stage's work split.

module "edge" {
  source = "../../modules/edge"

  name               = var.name
  account_id         = var.cloudflare.account_id
  zone_id            = var.cloudflare.zone_id
  hostname           = var.cloudflare.hostname
  dashboard_hostname = var.cloudflare.dashboard_hostname
  worker             = var.cloudflare.worker
  origin             = { hostname = var.cloudflare.origin_hostname, target = module.service.load_balancer.dns_name }
  edge_secret        = var.edge_secret
  edge_pepper        = var.edge_pepper
}

module "service" {
  source = "../../modules/service"

  name               = var.name
  region             = var.region
  azs                = var.azs
  ingress_cidrs      = var.ingress_cidrs
  images             = var.images
  certificate_arn    = var.certificate_arn
  partitions         = 16
  workers            = { normaliser = 2, featurizer = 2, scorer = 4, alerter = 1, deliverer = 1, projector = 2, archiver = 1 }
  gateway            = { min = 3, max = 12 }
  archive            = module.edge.archive
  nats               = var.nats
  postgres           = { instance_class = "db.m7g.xlarge", storage = { gib = 500, max_gib = 4000 } }
  log_retention_days = 90
  alert_emails       = var.alert_emails

  # The project's own rules.
  rule_files = {
    for f in fileset("${path.root}/../../../dashboard/prometheus/rules", "*.yml") :
    trimsuffix(f, ".yml") => file("${path.root}/../../../dashboard/prometheus/rules/${f}")
  }

  # The archiver drains the spill; its R2 token reaches both buckets.
  settings = {
    archiver = { EDGEPULSE_SPILL_URL = "r2://${var.cloudflare.account_id}/${module.edge.spill_bucket}" }
  }
  extra_secrets = {
    gateway  = { EDGEPULSE_EDGE_SECRETS = var.edge_secrets_arn }
    archiver = { EDGEPULSE_EDGE_SECRETS = var.edge_secrets_arn }
  }

  nats_tls               = var.nats_tls
  nats_tls_version       = var.nats_tls_version
  role_passwords         = var.role_passwords
  role_passwords_version = var.role_passwords_version
  secret_values          = var.secret_values
  secret_versions        = var.secret_versions
}
