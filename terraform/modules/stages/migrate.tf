# `edgepulse migrate`, as a task that runs once per deployment, before the stages are
# updated (output migrate_command). It alone connects as the owner of the schema.

resource "aws_iam_role_policy" "migrate" {
  name = "start"
  role = aws_iam_role.execution["migrate"].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.pull_image, [
      { Sid = "Secrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = concat([var.postgres.owner_secret_arn, aws_secretsmanager_secret.this["ca-bundle"].arn], values(var.postgres.role_secret_arns)) },
      { Sid = "Key", Effect = "Allow", Action = ["kms:Decrypt"], Resource = [var.kms_key_arn] },
      { Sid = "Log", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = ["${aws_cloudwatch_log_group.stage["migrate"].arn}:*"] },
    ])
  })
}

resource "aws_ecs_task_definition" "migrate" {
  family                   = "${var.name}-migrate"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.execution["migrate"].arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  volume {
    name = "files"
  }

  container_definitions = jsonencode([
    {
      name             = "init"
      image            = var.init_image
      essential        = false
      entryPoint       = ["/bin/sh", "-c"]
      command          = ["set -eu; printf '%s\\n' \"$CA_BUNDLE\" > ${local.files}/ca.pem; chmod 444 ${local.files}/ca.pem"]
      user             = "0:0"
      secrets          = [{ name = "CA_BUNDLE", valueFrom = aws_secretsmanager_secret.this["ca-bundle"].arn }]
      mountPoints      = [{ sourceVolume = "files", containerPath = local.files, readOnly = false }]
      logConfiguration = local.log_options["migrate"]
    },
    {
      name                   = "migrate"
      image                  = var.image
      essential              = true
      command                = ["migrate"]
      user                   = "${var.run_as}:${var.run_as}"
      readonlyRootFilesystem = true
      linuxParameters        = { initProcessEnabled = false, capabilities = { drop = ["ALL"] } }
      environment = [
        { name = "EDGEPULSE_DATABASE_OWNER_URL", value = "postgres://edgepulse_owner@${var.postgres.host}:5432/${var.postgres.database}?sslmode=verify-full" },
        { name = "SSL_CERT_FILE", value = "${local.files}/ca.pem" },
      ]
      # The driver reads PGPASSWORD; RDS rotates it, each run fetches the present one.
      secrets = [
        { name = "PGPASSWORD", valueFrom = "${var.postgres.owner_secret_arn}:password::" },
        { name = "EDGEPULSE_DATABASE_WRITER_PASSWORD", valueFrom = "${var.postgres.role_secret_arns["writer"]}:password::" },
        { name = "EDGEPULSE_DATABASE_APP_PASSWORD", valueFrom = "${var.postgres.role_secret_arns["app"]}:password::" },
      ]
      mountPoints      = [{ sourceVolume = "files", containerPath = local.files, readOnly = true }]
      dependsOn        = [{ containerName = "init", condition = "SUCCESS" }]
      logConfiguration = local.log_options["migrate"]
    },
  ])
}
