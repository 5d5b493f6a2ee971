resource "aws_cloudwatch_log_group" "stage" {
  for_each          = toset(concat(keys(local.stages), ["migrate"]))
  name              = "/${var.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

locals {
  log_options = {
    for s, g in aws_cloudwatch_log_group.stage : s => {
      logDriver = "awslogs"
      options   = { "awslogs-group" = g.name, "awslogs-region" = var.region, "awslogs-stream-prefix" = s, mode = "non-blocking", "max-buffer-size" = "4m" }
    }
  }

  # The image of EdgePulse has no shell, and secrets that must be files (NATS
  # credentials, passwords for the driver, CAs) come from ECS as variables.
  init_script = join("\n", [
    "set -eu; umask 077; cd ${local.files}",
    "printf '%s\\n' \"$NATS_CREDS\" > nats.creds",
    "printf '%s\\n' \"$CA_BUNDLE\" > ca.pem",
    ": > pgpass",
    "[ -z \"$${PASSWORD_APP:-}\" ] || printf '%s:5432:%s:edgepulse_app:%s\\n' \"$DB_HOST\" \"$DB_NAME\" \"$PASSWORD_APP\" >> pgpass",
    "[ -z \"$${PASSWORD_WRITER:-}\" ] || printf '%s:5432:%s:edgepulse_writer:%s\\n' \"$DB_HOST\" \"$DB_NAME\" \"$PASSWORD_WRITER\" >> pgpass",
    "chown -R ${var.run_as}:${var.run_as} .",
  ])
}

resource "aws_ecs_cluster" "this" {
  name = var.name
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_ecs_task_definition" "stage" {
  for_each                 = local.processes
  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = local.sizes[each.value.stage].cpu
  memory                   = local.sizes[each.value.stage].memory
  execution_role_arn       = aws_iam_role.execution[each.value.stage].arn
  task_role_arn            = aws_iam_role.task[each.value.stage].arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  # Lives as long as the task, on its encrypted ephemeral disk.
  volume {
    name = "files"
  }

  container_definitions = jsonencode([
    {
      name             = "init"
      image            = var.init_image
      essential        = false
      entryPoint       = ["/bin/sh", "-c"]
      command          = [local.init_script]
      user             = "0:0"
      environment      = [{ name = "DB_HOST", value = var.postgres.host }, { name = "DB_NAME", value = var.postgres.database }]
      secrets          = [for env, arn in local.init_secrets[each.value.stage] : { name = env, valueFrom = arn }]
      mountPoints      = [{ sourceVolume = "files", containerPath = local.files, readOnly = false }]
      logConfiguration = local.log_options[each.value.stage]
    },
    {
      name                   = each.value.stage
      image                  = var.image
      essential              = true
      command                = [each.value.stage]
      user                   = "${var.run_as}:${var.run_as}"
      readonlyRootFilesystem = true
      linuxParameters        = { initProcessEnabled = false, capabilities = { drop = ["ALL"] } }
      ulimits                = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]
      stopTimeout            = 60
      environment            = [for k, v in local.environment[each.key] : { name = k, value = v }]
      secrets                = [for env, arn in local.process_secrets[each.value.stage] : { name = env, valueFrom = arn }]
      mountPoints            = [{ sourceVolume = "files", containerPath = local.files, readOnly = true }]
      portMappings           = [{ containerPort = each.value.stage == "gateway" ? 8080 : 9090, protocol = "tcp" }]
      dependsOn              = [{ containerName = "init", condition = "SUCCESS" }]
      logConfiguration       = local.log_options[each.value.stage]
    },
  ])
}
