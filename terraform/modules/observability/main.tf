# Metrics of the stages go to a managed Prometheus, which evaluates the project's
# rules; alarms of CloudWatch watch what the stages can't say themselves (that they
# are gone). Both tell one topic.

data "aws_caller_identity" "current" {}

resource "aws_cloudwatch_log_group" "this" {
  for_each          = toset(["collector", "prometheus"])
  name              = each.key == "prometheus" ? "/aws/vendedlogs/prometheus/${var.name}" : "/${var.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_prometheus_workspace" "this" {
  alias       = var.name
  kms_key_arn = var.kms_key_arn
  logging_configuration {
    log_group_arn = "${aws_cloudwatch_log_group.this["prometheus"].arn}:*"
  }
}

resource "aws_prometheus_rule_group_namespace" "this" {
  for_each     = var.rule_files
  workspace_id = aws_prometheus_workspace.this.id
  name         = each.key
  data         = each.value
}

resource "aws_prometheus_alert_manager_definition" "this" {
  workspace_id = aws_prometheus_workspace.this.id
  definition = yamlencode({
    alertmanager_config = yamlencode({
      route = {
        receiver        = "operators"
        group_by        = ["alertname"]
        group_wait      = "10s"
        group_interval  = "5m"
        repeat_interval = "4h"
      }
      receivers = [{
        name        = "operators"
        sns_configs = [{ topic_arn = aws_sns_topic.alarms.arn, sigv4 = { region = var.region }, send_resolved = true }]
      }]
    })
  })
  depends_on = [aws_sns_topic_policy.alarms]
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Publish"
      Effect    = "Allow"
      Principal = { Service = ["aps.amazonaws.com", "cloudwatch.amazonaws.com"] }
      Action    = ["sns:Publish", "sns:GetTopicAttributes"]
      Resource  = aws_sns_topic.alarms.arn
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_sns_topic_subscription" "email" {
  for_each  = toset(var.alert_emails)
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.key
}
