# All of AWS in one piece: the modules beside this one, put together as the
# environments do it. Who has a VPC, a database or a broker already puts them
# together differently (examples/complete).

data "aws_caller_identity" "current" {}

module "network" {
  source              = "../network"
  name                = var.name
  region              = var.region
  azs                 = var.azs
  cidr                = var.cidr
  nat_gateway_per_az  = var.nat_gateway_per_az
  ingress_cidrs       = var.ingress_cidrs
  archive_outside_aws = var.archive.r2 != null
}

module "nats" {
  source            = "../nats"
  name              = var.name
  region            = var.region
  vpc_id            = module.network.vpc_id
  subnet_ids        = module.network.data_subnet_ids
  security_group_id = module.network.security_group_ids["nats"]
  kms_key_arn       = aws_kms_key.this.arn
  ami_id            = var.nats.ami_id
  instance_type     = var.nats.instance_type
  volume            = var.nats.volume
  server            = var.nats.server
  auth              = var.nats.auth
  tls               = var.nats_tls
  tls_version       = var.nats_tls_version
}

module "postgres" {
  source                 = "../postgres"
  name                   = var.name
  subnet_ids             = module.network.data_subnet_ids
  security_group_id      = module.network.security_group_ids["postgres"]
  kms_key_arn            = aws_kms_key.this.arn
  instance_class         = var.postgres.instance_class
  storage                = var.postgres.storage
  multi_az               = var.postgres.multi_az
  backup_retention_days  = var.postgres.backup_retention_days
  deletion_protection    = var.deletion_protection
  role_passwords         = var.role_passwords
  role_passwords_version = var.role_passwords_version
}

module "stages" {
  source = "../stages"
  name   = var.name
  region = var.region
  network = {
    vpc_id             = module.network.vpc_id
    public_subnet_ids  = module.network.public_subnet_ids
    private_subnet_ids = module.network.private_subnet_ids
    security_group_ids = module.network.security_group_ids
  }
  kms_key_arn         = aws_kms_key.this.arn
  image               = var.images.edgepulse
  init_image          = var.images.init
  ecr_repository_arns = var.images.ecr_repository_arns
  architecture        = var.architecture
  partitions          = var.partitions
  workers             = var.workers
  sizes               = var.sizes
  gateway             = var.gateway
  certificate_arn     = var.certificate_arn
  load_balancer       = { access_log_bucket = var.access_log_bucket, deletion_protection = var.deletion_protection }
  nats                = { url = module.nats.url, monitor_url = module.nats.monitor_url }
  log_max_bytes       = module.nats.max_store_bytes
  postgres = {
    host             = module.postgres.host
    database         = module.postgres.database
    owner_secret_arn = module.postgres.owner_secret_arn
    role_secret_arns = module.postgres.role_secret_arns
  }
  archive            = var.archive
  settings           = var.settings
  extra_secrets      = var.extra_secrets
  secret_values      = var.secret_values
  secret_versions    = var.secret_versions
  log_retention_days = var.log_retention_days
}

module "observability" {
  source              = "../observability"
  name                = var.name
  region              = var.region
  kms_key_arn         = aws_kms_key.this.arn
  cluster             = module.stages.cluster
  services            = module.stages.services
  discovery_namespace = module.stages.discovery_namespace
  subnet_ids          = values(module.network.private_subnet_ids)
  security_group_id   = module.network.security_group_ids["collector"]
  collector_image     = var.images.collector
  ecr_repository_arns = var.images.ecr_repository_arns
  rule_files          = var.rule_files
  alert_emails        = var.alert_emails
  load_balancer       = module.stages.load_balancer
  database            = { identifier = module.postgres.identifier }
  nats_instance_ids   = module.nats.instance_ids
  log_retention_days  = var.log_retention_days
}
