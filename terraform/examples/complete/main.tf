terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
    cloudflare = {
      source  = "cloudflare/cloudflare"
      version = "~> 5.14"
    }
  }
}

provider "aws" {
  region = "eu-central-1"
}

provider "cloudflare" {}

# The modules one by one, for those who have some of the parts already: leave a module
# out and give its neighbours what you have in its place.

locals {
  name    = "edgepulse"
  region  = "eu-central-1"
  key_arn = "arn:aws:kms:eu-central-1:111122223333:key/KEY" # its policy must let Logs, CloudWatch and AMP use it
}

module "network" {
  source             = "../../modules/network"
  name               = local.name
  region             = local.region
  azs                = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  cidr               = "10.80.0.0/16"
  nat_gateway_per_az = true
  ingress_cidrs      = var.cloudflare_ranges
}

module "nats" {
  source            = "../../modules/nats"
  name              = local.name
  region            = local.region
  vpc_id            = module.network.vpc_id
  subnet_ids        = module.network.data_subnet_ids
  security_group_id = module.network.security_group_ids["nats"]
  kms_key_arn       = local.key_arn
  ami_id            = "ami-00000000000000000"
  instance_type     = "m7g.xlarge"
  volume            = { size_gib = 500, iops = 12000, throughput_mib = 500 }
  server            = { bucket = "ARTEFACTS", key = "nats-server-v2.15.2-linux-arm64", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  auth              = { operator_jwt = "OPERATOR_JWT", system_account_id = "SYSTEM", account_jwts = { SYSTEM = "SYSTEM_JWT", ACCOUNT = "ACCOUNT_JWT" } }
  tls               = var.nats_tls
  tls_version       = 1
}

module "postgres" {
  source                 = "../../modules/postgres"
  name                   = local.name
  subnet_ids             = module.network.data_subnet_ids
  security_group_id      = module.network.security_group_ids["postgres"]
  kms_key_arn            = local.key_arn
  instance_class         = "db.r7g.xlarge"
  storage                = { gib = 1000, max_gib = 8000 }
  backup_retention_days  = 35
  role_passwords         = var.role_passwords
  role_passwords_version = 1
}

module "edge" {
  source             = "../../modules/edge"
  name               = local.name
  account_id         = "ACCOUNT"
  zone_id            = "ZONE"
  hostname           = "ingest.example.com"
  dashboard_hostname = "pulse.example.com"
  origin             = { hostname = "origin.example.com", target = module.stages.load_balancer.dns_name }
  worker             = { bundle = var.worker_bundle, compatibility_date = "2026-07-01" }
  edge_secret        = var.edge_secret
  edge_pepper        = var.edge_pepper
}

module "stages" {
  source = "../../modules/stages"
  name   = local.name
  region = local.region
  network = {
    vpc_id             = module.network.vpc_id
    public_subnet_ids  = module.network.public_subnet_ids
    private_subnet_ids = module.network.private_subnet_ids
    security_group_ids = module.network.security_group_ids
  }
  kms_key_arn         = local.key_arn
  image               = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/edgepulse@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  init_image          = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/busybox@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  ecr_repository_arns = ["arn:aws:ecr:eu-central-1:111122223333:repository/edgepulse", "arn:aws:ecr:eu-central-1:111122223333:repository/busybox"]
  partitions          = 32
  workers             = { normaliser = 4, featurizer = 4, scorer = 8, alerter = 2, deliverer = 2, projector = 4, archiver = 2 }
  sizes               = { scorer = { cpu = 4096, memory = 16384 } }
  gateway             = { min = 3, max = 24, cpu_target = 50 }
  certificate_arn     = "arn:aws:acm:eu-central-1:111122223333:certificate/CERTIFICATE"
  load_balancer       = { access_log_bucket = "ACCESS-LOGS" }
  nats                = { url = module.nats.url, monitor_url = module.nats.monitor_url }
  log_max_bytes       = module.nats.max_store_bytes
  postgres = {
    host             = module.postgres.host
    database         = module.postgres.database
    owner_secret_arn = module.postgres.owner_secret_arn
    role_secret_arns = module.postgres.role_secret_arns
  }
  archive         = module.edge.archive
  settings        = { featurizer = { EDGEPULSE_FEATURE_WINDOW_SEC = "600" } }
  secret_values   = var.secret_values
  secret_versions = { pepper = 1, "secret-key" = 1 } # the others are filled by hand
}

module "observability" {
  source              = "../../modules/observability"
  name                = local.name
  region              = local.region
  kms_key_arn         = local.key_arn
  cluster             = module.stages.cluster
  services            = module.stages.services
  discovery_namespace = module.stages.discovery_namespace
  subnet_ids          = values(module.network.private_subnet_ids)
  security_group_id   = module.network.security_group_ids["collector"]
  collector_image     = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/prometheus@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  ecr_repository_arns = ["arn:aws:ecr:eu-central-1:111122223333:repository/prometheus"]
  alert_emails        = ["operators@example.com"]
  load_balancer       = module.stages.load_balancer
  database            = { identifier = module.postgres.identifier, min_free_gib = 100 }
  nats_instance_ids   = module.nats.instance_ids
}
