mock_provider "aws" {
  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:tls-AbCdEf" }
  }
  mock_resource "aws_ebs_volume" {
    defaults = { id = "vol-0123456789abcdef0" }
  }
  mock_resource "aws_network_interface" {
    defaults = { private_ip = "10.42.8.10" }
  }
}

variables {
  tls               = { cert = "-----CERT-----", key = "-----PRIVATE KEY-----", ca = "-----CA-----" }
  name              = "edgepulse"
  region            = "eu-central-1"
  vpc_id            = "vpc-1"
  subnet_ids        = { "eu-central-1a" = "subnet-a", "eu-central-1b" = "subnet-b", "eu-central-1c" = "subnet-c" }
  security_group_id = "sg-nats"
  ami_id            = "ami-00000000000000001"
  kms_key_arn       = "arn:aws:kms:eu-central-1:111122223333:key/1"
  server            = { bucket = "artefacts", key = "nats-server", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
  auth              = { operator_jwt = "OPERATOR", system_account_id = "SYS", account_jwts = { SYS = "SYSJWT", ACC = "ACCJWT" } }
}

run "cluster" {
  command = apply

  variables {
    tls_version = 1
  }

  assert {
    condition     = toset(keys(aws_instance.node)) == toset(keys(var.subnet_ids))
    error_message = "One node in each zone."
  }
  assert {
    condition     = alltrue([for az, v in aws_ebs_volume.log : v.availability_zone == az && v.encrypted && v.type == "gp3"])
    error_message = "Each volume is in its node's zone, and encrypted."
  }
  assert {
    condition     = alltrue([for i in aws_instance.node : strcontains(base64decode(regex("content: (\\S{200,})", i.user_data)[0]), "sync_interval: always")])
    error_message = "Acknowledged means on disk."
  }
  assert {
    condition     = alltrue([for i in aws_instance.node : alltrue([for h in ["nats-0", "nats-1", "nats-2"] : strcontains(base64decode(regex("content: (\\S{200,})", i.user_data)[0]), "nats-route://${h}.edgepulse.internal:6222")])])
    error_message = "Each node knows the routes to all."
  }
  assert {
    condition     = alltrue([for i in aws_instance.node : !strcontains(i.user_data, "PRIVATE KEY") && length(i.user_data) < 16384])
    error_message = "User data holds no key, and fits EC2's 16 KiB."
  }
  assert {
    condition     = alltrue([for i in aws_instance.node : one(i.metadata_options).http_tokens == "required"])
    error_message = "IMDSv2 only."
  }
  assert {
    condition     = output.url == "tls://nats-0.edgepulse.internal:4222,tls://nats-1.edgepulse.internal:4222,tls://nats-2.edgepulse.internal:4222"
    error_message = "All nodes, by TLS."
  }
}

run "certificate_by_hand" {
  command = apply
  assert {
    condition     = length(aws_secretsmanager_secret_version.tls) == 0
    error_message = "Version 0: Terraform leaves the secret alone."
  }
}

run "unsafe_volume" {
  command = plan
  variables {
    volume = { size_gib = 5, iops = 100, throughput_mib = 10 }
  }
  expect_failures = [var.volume]
}

run "system_account_missing" {
  command = plan
  variables {
    auth = { operator_jwt = "OPERATOR", system_account_id = "SYS", account_jwts = { ACC = "ACCJWT" } }
  }
  expect_failures = [var.auth]
}
