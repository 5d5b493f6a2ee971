# The graph of who may open a connection to whom. An edge of the graph becomes two
# rules: out of the one group, into the other. What is not in this table is refused.

locals {
  ports = { https = 443, gateway = 8080, metrics = 9090, nats = 4222, nats_cluster = 6222, nats_monitor = 8222, postgres = 5432 }

  # fold = normaliser, featurizer, scorer, alerter: they need neither database nor internet.
  groups = {
    lb        = "Load balancer"
    gateway   = "Gateway"
    fold      = "Normaliser, featurizer, scorer, alerter"
    projector = "Projector"
    deliverer = "Deliverer"
    archiver  = "Archiver"
    admin     = "Migrations of the database"
    collector = "Collector of metrics"
    nats      = "NATS"
    postgres  = "Postgres"
    endpoints = "VPC endpoints"
  }

  stages = ["gateway", "fold", "projector", "deliverer", "archiver"]

  flows = concat(
    [
      { from = "lb", to = "gateway", port = "gateway" },
      { from = "nats", to = "nats", port = "nats_cluster" },
      { from = "nats", to = "endpoints", port = "https" },
      { from = "collector", to = "gateway", port = "gateway" },
      { from = "collector", to = "endpoints", port = "https" },
      { from = "admin", to = "endpoints", port = "https" },
      { from = "admin", to = "postgres", port = "postgres" },
    ],
    [for s in local.stages : { from = s, to = "endpoints", port = "https" }],
    [for s in local.stages : { from = s, to = "nats", port = "nats" }],
    [for s in local.stages : { from = s, to = "nats", port = "nats_monitor" }],
    [for s in ["gateway", "projector", "deliverer", "archiver"] : { from = s, to = "postgres", port = "postgres" }],
    [for s in ["fold", "projector", "deliverer", "archiver"] : { from = "collector", to = s, port = "metrics" }],
  )
  edges = { for f in local.flows : "${f.from}-${f.to}-${f.port}" => f }

  # Who reads or writes S3 through its gateway endpoint. Images come from there too.
  s3_users = concat(local.stages, ["admin", "collector", "nats"])

  # Who talks to the internet, on 443 only: webhooks; R2.
  internet_users = concat(["deliverer"], var.archive_outside_aws ? ["archiver"] : [])
}

resource "aws_security_group" "this" {
  for_each    = local.groups
  name_prefix = "${var.name}-${each.key}-"
  description = each.value
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-${each.key}" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "edge" {
  for_each                     = local.edges
  description                  = "to ${each.value.to}"
  security_group_id            = aws_security_group.this[each.value.from].id
  referenced_security_group_id = aws_security_group.this[each.value.to].id
  ip_protocol                  = "tcp"
  from_port                    = local.ports[each.value.port]
  to_port                      = local.ports[each.value.port]
}

resource "aws_vpc_security_group_ingress_rule" "edge" {
  for_each                     = local.edges
  description                  = "from ${each.value.from}"
  security_group_id            = aws_security_group.this[each.value.to].id
  referenced_security_group_id = aws_security_group.this[each.value.from].id
  ip_protocol                  = "tcp"
  from_port                    = local.ports[each.value.port]
  to_port                      = local.ports[each.value.port]
}

# The only door from outside.
resource "aws_vpc_security_group_ingress_rule" "public" {
  for_each          = toset(var.ingress_cidrs)
  description       = "https"
  security_group_id = aws_security_group.this["lb"].id
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  for_each          = toset(local.s3_users)
  description       = "to S3 through its endpoint"
  security_group_id = aws_security_group.this[each.key].id
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "internet" {
  for_each          = toset(local.internet_users)
  description       = "https to anywhere"
  security_group_id = aws_security_group.this[each.key].id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
