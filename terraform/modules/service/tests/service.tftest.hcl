mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:111122223333:key/1" }
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
  mock_resource "aws_prometheus_workspace" {
    defaults = { arn = "arn:aws:aps:eu-central-1:111122223333:workspace/ws-1", prometheus_endpoint = "https://aps-workspaces.eu-central-1.amazonaws.com/workspaces/ws-1/" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:111122223333:edgepulse-alarms" }
  }
  mock_resource "aws_db_instance" {
    defaults = {
      address            = "db.internal"
      master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:owner-AbCdEf", kms_key_id = "key", secret_status = "active" }]
    }
  }
}

variables {
  nats_tls       = { cert = "-----CERT-----", key = "-----PRIVATE KEY-----", ca = "-----CA-----" }
  role_passwords = { writer = "0123456789abcdef0123456789abcdef", app = "fedcba9876543210fedcba9876543210" }
  secret_values  = { pepper = "00", "secret-key" = "11" }

  name   = "edgepulse"
  region = "eu-central-1"
  azs    = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  images = {
    edgepulse           = "example.com/edgepulse@sha256:0000000000000000000000000000000000000000000000000000000000000000"
    init                = "example.com/busybox@sha256:0000000000000000000000000000000000000000000000000000000000000000"
    ecr_repository_arns = ["arn:aws:ecr:eu-central-1:111122223333:repository/edgepulse"]
    collector           = "example.com/prometheus@sha256:0000000000000000000000000000000000000000000000000000000000000000"
  }
  certificate_arn = "arn:aws:acm:eu-central-1:111122223333:certificate/1"
  nats = {
    ami_id = "ami-00000000000000001"
    server = { bucket = "artefacts", key = "nats-server", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
    auth   = { operator_jwt = "OPERATOR", system_account_id = "SYS", account_jwts = { SYS = "SYSJWT", ACC = "ACCJWT" } }
  }
}

run "together" {
  command = apply
  assert {
    condition     = aws_kms_key.this.enable_key_rotation
    error_message = "The key rotates."
  }
  assert {
    condition     = toset(keys(output.secrets)) == toset(concat(["pepper", "secret-key", "ca-bundle", "nats-tls", "postgres-writer", "postgres-app"], [for s in ["gateway", "normaliser", "featurizer", "scorer", "alerter", "deliverer", "projector", "archiver"] : "nats-creds-${s}"]))
    error_message = "Every secret that has to be filled is told."
  }
  assert {
    condition     = output.load_balancer.dns_name != ""
    error_message = "The load balancer has a name."
  }
}
