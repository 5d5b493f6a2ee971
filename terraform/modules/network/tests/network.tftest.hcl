mock_provider "aws" {}

variables {
  name   = "edgepulse"
  region = "eu-central-1"
  azs    = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
}

run "graph" {
  command = apply

  assert {
    condition = toset(keys(local.edges)) == toset([
      "lb-gateway-gateway",
      "gateway-endpoints-https", "gateway-nats-nats", "gateway-nats-nats_monitor", "gateway-postgres-postgres",
      "fold-endpoints-https", "fold-nats-nats", "fold-nats-nats_monitor",
      "projector-endpoints-https", "projector-nats-nats", "projector-nats-nats_monitor", "projector-postgres-postgres",
      "deliverer-endpoints-https", "deliverer-nats-nats", "deliverer-nats-nats_monitor", "deliverer-postgres-postgres",
      "archiver-endpoints-https", "archiver-nats-nats", "archiver-nats-nats_monitor", "archiver-postgres-postgres",
      "nats-nats-nats_cluster", "nats-endpoints-https",
      "admin-postgres-postgres", "admin-endpoints-https",
      "collector-gateway-gateway", "collector-fold-metrics", "collector-projector-metrics", "collector-deliverer-metrics", "collector-archiver-metrics", "collector-endpoints-https",
    ])
    error_message = "The graph of who may talk to whom changed; if that is meant, change it here too."
  }

  assert {
    condition     = toset([for k, f in local.edges : f.from if f.to == "gateway"]) == toset(["lb", "collector"])
    error_message = "Only the load balancer and the collector may reach the gateway."
  }

  assert {
    condition     = !anytrue([for k, f in local.edges : f.from == "fold" && f.to == "postgres"])
    error_message = "Folds read no configuration from outside their log: they need no database."
  }

  assert {
    condition     = alltrue([for k, e in local.edges : aws_vpc_security_group_ingress_rule.edge[k].security_group_id == aws_security_group.this[e.to].id && aws_vpc_security_group_egress_rule.edge[k].security_group_id == aws_security_group.this[e.from].id])
    error_message = "Each edge needs both of its rules, each in its own group."
  }

  assert {
    condition     = toset([for r in aws_route.private_out : r.destination_cidr_block]) == toset(["0.0.0.0/0"]) && length(aws_nat_gateway.this) == 3
    error_message = "Each private subnet goes out through the NAT gateway of its zone."
  }

  assert {
    condition     = length(distinct(concat([for s in aws_subnet.public : s.cidr_block], [for s in aws_subnet.private : s.cidr_block], [for s in aws_subnet.data : s.cidr_block]))) == 9
    error_message = "Nine subnets that don't overlap."
  }
}

run "one_nat_gateway" {
  command = apply
  variables {
    nat_gateway_per_az  = false
    archive_outside_aws = false
    cidr                = "10.9.0.0/20"
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(distinct([for r in aws_route.private_out : r.nat_gateway_id])) == 1
    error_message = "One NAT gateway for all zones."
  }
  assert {
    condition     = keys(aws_vpc_security_group_egress_rule.internet) == ["deliverer"]
    error_message = "Without R2 only the deliverer talks to the internet."
  }
}

run "two_zones" {
  command = plan
  variables {
    azs = ["eu-central-1a", "eu-central-1b"]
  }
  expect_failures = [var.azs]
}

run "not_a_range" {
  command = plan
  variables {
    ingress_cidrs = ["everyone"]
  }
  expect_failures = [var.ingress_cidrs]
}
