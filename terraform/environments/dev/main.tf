# A small deployment for trying changes: the same parts as production, one NAT
# gateway, no standby database, archive in S3, no Worker.

module "service" {
  source = "../../modules/service"

  name                = var.name
  region              = var.region
  azs                 = var.azs
  nat_gateway_per_az  = false
  ingress_cidrs       = var.ingress_cidrs
  images              = var.images
  certificate_arn     = var.certificate_arn
  partitions          = 4
  gateway             = { min = 2, max = 2 }
  deletion_protection = false
  log_retention_days  = 7
  alert_emails        = var.alert_emails

  sizes = {
    for s in ["gateway", "normaliser", "featurizer", "scorer", "alerter", "deliverer", "projector", "archiver"] :
    s => { cpu = 256, memory = 1024 }
  }

  nats = merge(var.nats, {
    instance_type = "m7g.medium"
    volume        = { size_gib = 40, iops = 3000, throughput_mib = 125 }
  })

  postgres = {
    instance_class        = "db.t4g.medium"
    storage               = { gib = 40, max_gib = 100 }
    multi_az              = false
    backup_retention_days = 3
  }

  nats_tls               = var.nats_tls
  nats_tls_version       = var.nats_tls_version
  role_passwords         = var.role_passwords
  role_passwords_version = var.role_passwords_version
  secret_values          = var.secret_values
  secret_versions        = var.secret_versions
}
