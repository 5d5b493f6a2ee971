# What each stage is given, and nothing more. The stages are those of `edgepulse --help`.

data "aws_caller_identity" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id

  # group: its security group. db: the roles it connects as. secrets: what its process
  # reads from the environment. s3: what its task role may do.
  stages = {
    gateway    = { group = "gateway", db = ["app", "writer"], secrets = { EDGEPULSE_PEPPER = "pepper", EDGEPULSE_SECRET_KEY = "secret-key" } }
    normaliser = { group = "fold", db = [], secrets = {} }
    featurizer = { group = "fold", db = [], secrets = {} }
    scorer     = { group = "fold", db = [], secrets = {} }
    alerter    = { group = "fold", db = [], secrets = {} }
    deliverer  = { group = "deliverer", db = ["writer"], secrets = { EDGEPULSE_SECRET_KEY = "secret-key" } }
    projector  = { group = "projector", db = ["writer"], secrets = {} }
    archiver   = { group = "archiver", db = ["writer"], secrets = { EDGEPULSE_SECRET_KEY = "secret-key" } }
  }
  folds = [for s, v in local.stages : s if v.group == "fold"]

  default_sizes = {
    gateway    = { cpu = 1024, memory = 2048 }
    normaliser = { cpu = 1024, memory = 4096 }
    featurizer = { cpu = 1024, memory = 4096 }
    scorer     = { cpu = 2048, memory = 8192 }
    alerter    = { cpu = 512, memory = 2048 }
    deliverer  = { cpu = 512, memory = 1024 }
    projector  = { cpu = 1024, memory = 2048 }
    archiver   = { cpu = 512, memory = 2048 }
  }
  sizes = merge(local.default_sizes, var.sizes)

  # Workers and the partitions they own: "scorer-1" = "8-15".
  worker_list = flatten([
    for stage in setsubtract(keys(local.stages), ["gateway"]) : [
      for i in range(lookup(var.workers, stage, 1)) : {
        key   = "${stage}-${i}"
        stage = stage
        first = floor(var.partitions * i / lookup(var.workers, stage, 1))
        last  = floor(var.partitions * (i + 1) / lookup(var.workers, stage, 1)) - 1
      }
    ]
  ])
  workers = { for w in local.worker_list : w.key => merge(w, { partitions = "${w.first}-${w.last}" }) }

  # Every process there is: the gateway works on all partitions.
  processes = merge({ gateway = { stage = "gateway", partitions = null } }, local.workers)

  uses_r2 = var.archive.r2 != null
  archive_url = (local.uses_r2
    ? "r2://${try(var.archive.r2.account_id, "")}/${try(var.archive.r2.bucket, "")}"
  : "s3://${local.archive_bucket}?region=${var.region}")

  # Secrets by name; the values come from outside.
  secret_names = concat(
    ["pepper", "secret-key", "ca-bundle"],
    [for s in keys(local.stages) : "nats-creds-${s}"],
    local.uses_r2 ? ["r2-archiver"] : [],
  )

  # Files that the init container writes, and where the process finds them.
  files = "/run/edgepulse"

  environment = {
    for key, p in local.processes : key => merge(
      {
        EDGEPULSE_NATS_URL         = var.nats.url
        EDGEPULSE_NATS_MONITOR_URL = var.nats.monitor_url
        EDGEPULSE_NATS_CREDS       = "${local.files}/nats.creds"
        EDGEPULSE_NATS_REPLICAS    = "3"
        EDGEPULSE_PARTITIONS       = tostring(var.partitions)
        EDGEPULSE_LOG_MAX_BYTES    = tostring(var.log_max_bytes)
        EDGEPULSE_LOG_FORMAT       = "json"
        EDGEPULSE_LOG_LEVEL        = var.log_level
        # Go reads the CAs of NATS and RDS from here, beside those of the image.
        SSL_CERT_FILE = "${local.files}/ca.pem"
      },
      p.stage == "gateway" ? { EDGEPULSE_ADDR = ":8080" } : { EDGEPULSE_METRICS_ADDR = ":9090", EDGEPULSE_OWN_PARTITIONS = p.partitions },
      # The archiver's janitor keeps what the oldest snapshot of each fold still needs.
      contains(concat(local.folds, ["archiver"]), p.stage) ? { EDGEPULSE_SNAPSHOT_URL = "s3://${local.snapshot_bucket}?region=${var.region}" } : {},
      p.stage == "archiver" ? { EDGEPULSE_ARCHIVE_URL = local.archive_url } : {},
      # No password in an address: the driver takes it from the file.
      length(local.stages[p.stage].db) > 0 ? { PGPASSFILE = "${local.files}/pgpass" } : {},
      {
        for role in local.stages[p.stage].db :
        "EDGEPULSE_DATABASE_${upper(role)}_URL" => "postgres://edgepulse_${role}@${var.postgres.host}:5432/${var.postgres.database}?sslmode=verify-full"
      },
      lookup(var.settings, p.stage, {}),
    )
  }

  # What ECS puts into the process's environment, from Secrets Manager.
  process_secrets = {
    for stage, s in local.stages : stage => merge(
      { for env, name in s.secrets : env => aws_secretsmanager_secret.this[name].arn },
      stage == "archiver" && local.uses_r2 ? {
        R2_ACCESS_KEY_ID     = "${aws_secretsmanager_secret.this["r2-archiver"].arn}:access_key_id::"
        R2_SECRET_ACCESS_KEY = "${aws_secretsmanager_secret.this["r2-archiver"].arn}:secret_access_key::"
      } : {},
      lookup(var.extra_secrets, stage, {}),
    )
  }

  # What only the init container sees: it becomes files.
  init_secrets = {
    for stage, s in local.stages : stage => merge(
      {
        NATS_CREDS = aws_secretsmanager_secret.this["nats-creds-${stage}"].arn
        CA_BUNDLE  = aws_secretsmanager_secret.this["ca-bundle"].arn
      },
      { for role in s.db : "PASSWORD_${upper(role)}" => "${var.postgres.role_secret_arns[role]}:password::" },
    )
  }

  # The secrets' own ARNs, without the JSON key: what the execution role may read.
  readable = {
    for stage, s in local.stages : stage => distinct([
      for arn in concat(values(local.process_secrets[stage]), values(local.init_secrets[stage])) :
      join(":", slice(split(":", arn), 0, min(7, length(split(":", arn)))))
    ])
  }
}
