# Prometheus in agent mode: scrapes the stages by their DNS names, forwards, keeps nothing.

locals {
  stages = ["gateway", "normaliser", "featurizer", "scorer", "alerter", "deliverer", "projector", "archiver"]

  config = yamlencode({
    global = { scrape_interval = "15s", external_labels = { deployment = var.name } }
    scrape_configs = [
      for s in local.stages : {
        job_name       = s
        dns_sd_configs = [{ names = ["${s}.${var.discovery_namespace}"], type = "A", port = s == "gateway" ? 8080 : 9090, refresh_interval = "15s" }]
      }
    ]
    remote_write = [{
      url          = "${aws_prometheus_workspace.this.prometheus_endpoint}api/v1/remote_write"
      sigv4        = { region = var.region }
      queue_config = { max_samples_per_send = 1000, max_shards = 20, capacity = 2500 }
    }]
  })

  tasks_trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id }
        ArnLike      = { "aws:SourceArn" = "arn:aws:ecs:${var.region}:${data.aws_caller_identity.current.account_id}:*" }
      }
    }]
  })
}

resource "aws_iam_role" "execution" {
  name               = "${var.name}-collector-execution"
  assume_role_policy = local.tasks_trust
}

resource "aws_iam_role_policy" "execution" {
  name = "start"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "Log", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = ["${aws_cloudwatch_log_group.this["collector"].arn}:*"] },
      # Knows no resources.
      { Sid = "Login", Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] },
      { Sid = "Image", Effect = "Allow", Action = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], Resource = var.ecr_repository_arns },
    ]
  })
}

resource "aws_iam_role" "task" {
  name               = "${var.name}-collector"
  assume_role_policy = local.tasks_trust
}

resource "aws_iam_role_policy" "task" {
  name = "write-metrics"
  role = aws_iam_role.task.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "aps:RemoteWrite", Resource = aws_prometheus_workspace.this.arn }]
  })
}

resource "aws_ecs_task_definition" "collector" {
  family                   = "${var.name}-collector"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn

  container_definitions = jsonencode([{
    name        = "collector"
    image       = var.collector_image
    essential   = true
    entryPoint  = ["/bin/sh", "-c"]
    command     = ["printf '%s' \"$CONFIG\" > /tmp/prometheus.yml && exec /bin/prometheus --agent --config.file=/tmp/prometheus.yml --storage.agent.path=/tmp/agent"]
    user        = "65534:65534"
    environment = [{ name = "CONFIG", value = local.config }]
    logConfiguration = {
      logDriver = "awslogs"
      options   = { "awslogs-group" = aws_cloudwatch_log_group.this["collector"].name, "awslogs-region" = var.region, "awslogs-stream-prefix" = "collector" }
    }
  }])
}

resource "aws_ecs_service" "collector" {
  name                               = "collector"
  cluster                            = var.cluster.arn
  task_definition                    = aws_ecs_task_definition.collector.arn
  launch_type                        = "FARGATE"
  desired_count                      = 1
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  availability_zone_rebalancing      = "DISABLED"

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [var.security_group_id]
    assign_public_ip = false
  }

  depends_on = [aws_iam_role_policy.execution, aws_iam_role_policy.task]
}
