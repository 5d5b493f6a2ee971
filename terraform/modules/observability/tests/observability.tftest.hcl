mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_resource "aws_prometheus_workspace" {
    defaults = { arn = "arn:aws:aps:eu-central-1:111122223333:workspace/ws-1", prometheus_endpoint = "https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-1/" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:111122223333:log-group:collector" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:111122223333:edgepulse-alarms" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/collector" }
  }
}

variables {
  name                = "edgepulse"
  region              = "eu-central-1"
  kms_key_arn         = "arn:aws:kms:eu-central-1:111122223333:key/1"
  cluster             = { name = "edgepulse", arn = "arn:aws:ecs:eu-central-1:111122223333:cluster/edgepulse" }
  services            = { gateway = 3, "scorer-0" = 1, "scorer-1" = 1 }
  discovery_namespace = "edgepulse.stages"
  subnet_ids          = ["subnet-a"]
  security_group_id   = "sg-collector"
  ecr_repository_arns = ["arn:aws:ecr:eu-central-1:111122223333:repository/prometheus"]
  collector_image     = "example.com/prometheus@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  load_balancer       = { arn_suffix = "app/edgepulse/1", target_group = "targetgroup/ep/1" }
  database            = { identifier = "edgepulse" }
  nats_instance_ids   = { "eu-central-1a" = "i-1", "eu-central-1b" = "i-2", "eu-central-1c" = "i-3" }
}

run "watched" {
  command = apply
  variables {
    alert_emails = ["ops@example.com"]
    rule_files   = { stages = "groups: []" }
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.tasks["gateway"].threshold == 3 && aws_cloudwatch_metric_alarm.tasks["scorer-1"].threshold == 1 && aws_cloudwatch_metric_alarm.tasks["collector"].threshold == 1
    error_message = "Every service is missed when it is gone."
  }
  assert {
    condition     = alltrue([for a in aws_cloudwatch_metric_alarm.tasks : a.treat_missing_data == "breaching"]) && length(aws_cloudwatch_metric_alarm.nats) == 3
    error_message = "Silence is an alarm."
  }
  assert {
    condition     = toset([for j in yamldecode(local.config).scrape_configs : one(one(j.dns_sd_configs).names)]) == toset([for s in ["gateway", "normaliser", "featurizer", "scorer", "alerter", "deliverer", "projector", "archiver"] : "${s}.edgepulse.stages"])
    error_message = "Every stage is scraped."
  }
  assert {
    condition     = jsondecode(aws_iam_role_policy.task.policy).Statement == [{ Action = "aps:RemoteWrite", Effect = "Allow", Resource = "arn:aws:aps:eu-central-1:111122223333:workspace/ws-1" }]
    error_message = "The collector may write metrics and nothing else."
  }
  assert {
    condition     = alltrue([for g in aws_cloudwatch_log_group.this : g.retention_in_days == 30])
    error_message = "Logs end."
  }
}

run "no_address" {
  command = plan
  variables {
    alert_emails = ["somebody"]
  }
  expect_failures = [var.alert_emails]
}
