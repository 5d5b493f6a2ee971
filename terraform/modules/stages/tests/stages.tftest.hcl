mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:stage-AbCdEf" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:111122223333:log-group:stage" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/stage" }
  }
}

variables {
  secret_values = { pepper = "00", "secret-key" = "11" }

  name   = "edgepulse"
  region = "eu-central-1"
  network = {
    vpc_id             = "vpc-1"
    public_subnet_ids  = { a = "subnet-pa", b = "subnet-pb", c = "subnet-pc" }
    private_subnet_ids = { a = "subnet-a", b = "subnet-b", c = "subnet-c" }
    security_group_ids = { lb = "sg-lb", gateway = "sg-gateway", fold = "sg-fold", projector = "sg-projector", deliverer = "sg-deliverer", archiver = "sg-archiver", admin = "sg-admin" }
  }
  ecr_repository_arns = ["arn:aws:ecr:eu-central-1:111122223333:repository/edgepulse"]
  kms_key_arn         = "arn:aws:kms:eu-central-1:111122223333:key/1"
  image               = "example.com/edgepulse@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  init_image          = "example.com/busybox@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  certificate_arn     = "arn:aws:acm:eu-central-1:111122223333:certificate/1"
  nats                = { url = "tls://nats-0.edgepulse.internal:4222", monitor_url = "https://nats.edgepulse.internal:8222" }
  postgres = {
    host             = "db.internal"
    database         = "edgepulse"
    owner_secret_arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:owner-AbCdEf"
    role_secret_arns = { writer = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:writer-AbCdEf", app = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:app-AbCdEf" }
  }
}

run "in_s3" {
  command = apply

  variables {
    partitions      = 16
    workers         = { scorer = 3 }
    secret_versions = { pepper = 1, "secret-key" = 1 }
  }

  assert {
    condition     = [for i in range(3) : output.partition_ranges["scorer-${i}"]] == ["0-4", "5-9", "10-15"]
    error_message = "Ranges cover all partitions once."
  }
  assert {
    condition     = output.partition_ranges["alerter-0"] == "0-15"
    error_message = "One worker owns all."
  }
  assert {
    condition     = alltrue([for s in aws_ecs_service.worker : s.desired_count == 1 && s.deployment_maximum_percent == 100])
    error_message = "Owners of partitions are not doubled, not even by a deployment."
  }
  assert {
    condition     = length(aws_appautoscaling_target.gateway[*]) == 1 && aws_appautoscaling_target.gateway.resource_id == "service/edgepulse/gateway"
    error_message = "Only the gateway scales."
  }
  assert {
    condition     = toset(keys(aws_iam_role_policy.task)) == toset(["normaliser", "featurizer", "scorer", "alerter", "archiver"])
    error_message = "Gateway, deliverer and projector have no rights in AWS."
  }
  assert {
    condition     = toset([for stage, p in aws_iam_role_policy.task : stage if strcontains(p.policy, "edgepulse-archive-")]) == toset(["archiver"])
    error_message = "Only the archiver knows the archive."
  }
  assert {
    condition     = !anytrue([for s in jsondecode(aws_iam_role_policy.task["archiver"].policy).Statement : anytrue([for a in s.Action : strcontains(a, "Delete")])])
    error_message = "The archiver may not delete from the archive."
  }
  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.stage["archiver-0"].container_definitions)[1].environment : e.name => e.value }["EDGEPULSE_SNAPSHOT_URL"] == { for e in jsondecode(aws_ecs_task_definition.stage["scorer-0"].container_definitions)[1].environment : e.name => e.value }["EDGEPULSE_SNAPSHOT_URL"] && anytrue([for s in jsondecode(aws_iam_role_policy.task["archiver"].policy).Statement : s.Action == ["s3:ListBucket"] && s.Resource == "arn:aws:s3:::${local.snapshot_bucket}"])
    error_message = "The janitor finds the snapshots that hold the logs."
  }
  assert {
    condition     = alltrue([for s in local.folds : strcontains(aws_iam_role_policy.task[s].policy, "/snapshots/${s}/*") && !anytrue([for o in local.folds : o != s && strcontains(aws_iam_role_policy.task[s].policy, "/snapshots/${o}/")])])
    error_message = "Each fold reaches its own snapshots only."
  }
  assert {
    condition     = alltrue([for k, t in aws_ecs_task_definition.stage : t.execution_role_arn != null && t.task_role_arn != null])
    error_message = "Each task has both roles."
  }
  assert {
    condition = alltrue([for k, t in aws_ecs_task_definition.stage : alltrue([for c in [jsondecode(t.container_definitions)[1]] :
      c.readonlyRootFilesystem && c.user == "65532:65532" && toset(c.linuxParameters.capabilities.drop) == toset(["ALL"])
    ])])
    error_message = "Processes run without root, without capabilities, on a read-only root."
  }
  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.stage["scorer-1"].container_definitions)[1].environment : e.name => e.value }["EDGEPULSE_OWN_PARTITIONS"] == "5-9"
    error_message = "A worker is told its partitions."
  }
  assert {
    condition     = length(jsondecode(aws_ecs_task_definition.stage["scorer-1"].container_definitions)[1].secrets) == 0
    error_message = "A fold's process has no secret in its environment."
  }
  assert {
    condition     = toset([for s in jsondecode(aws_ecs_task_definition.stage["gateway"].container_definitions)[1].secrets : s.name]) == toset(["EDGEPULSE_PEPPER", "EDGEPULSE_SECRET_KEY"])
    error_message = "The gateway's secrets."
  }
  assert {
    condition     = aws_lb_listener.https.port == 443 && startswith(aws_lb_listener.https.ssl_policy, "ELBSecurityPolicy-TLS13")
    error_message = "TLS 1.3 or 1.2."
  }
  assert {
    condition     = contains(one(one(aws_lb_listener_rule.no_metrics.condition).path_pattern).values, "/metrics")
    error_message = "Metrics are not for the world."
  }
  assert {
    condition     = toset(keys(aws_s3_bucket.this)) == toset(["snapshots", "archive"]) && alltrue([for b in aws_s3_bucket_public_access_block.this : b.block_public_acls && b.block_public_policy && b.ignore_public_acls && b.restrict_public_buckets])
    error_message = "Private buckets."
  }
}

run "in_r2" {
  command = apply
  variables {
    archive = { r2 = { account_id = "acc", bucket = "edgepulse-archive" } }
  }
  assert {
    condition     = toset(keys(aws_s3_bucket.this)) == toset(["snapshots"]) && toset(flatten([for s in jsondecode(aws_iam_role_policy.task["archiver"].policy).Statement : s.Action])) == toset(["s3:ListBucket"]) && !strcontains(aws_iam_role_policy.task["archiver"].policy, "edgepulse-archive-")
    error_message = "With the archive in R2 there is no bucket for it here, and the archiver may list the snapshots only."
  }
  assert {
    condition     = { for e in jsondecode(aws_ecs_task_definition.stage["archiver-0"].container_definitions)[1].environment : e.name => e.value }["EDGEPULSE_ARCHIVE_URL"] == "r2://acc/edgepulse-archive"
    error_message = "The archive's address."
  }
  assert {
    condition     = toset([for s in jsondecode(aws_ecs_task_definition.stage["archiver-0"].container_definitions)[1].secrets : s.name]) == toset(["EDGEPULSE_SECRET_KEY", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY"])
    error_message = "The archiver's secrets."
  }
}

run "secret_in_settings" {
  command = plan
  variables {
    settings = { gateway = { EDGEPULSE_PEPPER = "00" } }
  }
  expect_failures = [var.settings]
}

run "image_by_tag" {
  command = plan
  variables {
    image = "example.com/edgepulse:latest"
  }
  expect_failures = [var.image]
}

run "too_many_workers" {
  command = plan
  variables {
    partitions = 4
    workers    = { scorer = 5 }
  }
  expect_failures = [var.workers]
}

run "unknown_stage" {
  command = plan
  variables {
    workers = { scorers = 2 }
  }
  expect_failures = [var.workers]
}

run "one_gateway" {
  command = plan
  variables {
    gateway = { min = 1, max = 1 }
  }
  expect_failures = [var.gateway]
}
