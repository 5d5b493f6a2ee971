# Three nats-server nodes, one per availability zone. What survives a node is its
# network interface (address, name in DNS) and its volume (the logs); instances can
# be replaced one at a time:
#
#   terraform apply -replace='module.nats.aws_instance.node["eu-central-1a"]'
#
# and the next only after `nats server report jetstream` shows the first current.

data "aws_caller_identity" "current" {}

locals {
  zone  = "${var.name}.internal"
  azs   = sort(keys(var.subnet_ids))
  nodes = { for i, az in local.azs : az => "nats-${i}" }
  hosts = { for az, node in local.nodes : az => "${node}.${local.zone}" }
}

resource "aws_route53_zone" "internal" {
  name = local.zone
  vpc {
    vpc_id = var.vpc_id
  }
}

resource "aws_network_interface" "node" {
  for_each        = local.nodes
  subnet_id       = var.subnet_ids[each.key]
  security_groups = [var.security_group_id]
  tags            = { Name = "${var.name}-${each.value}" }
}

resource "aws_route53_record" "node" {
  for_each = local.nodes
  zone_id  = aws_route53_zone.internal.zone_id
  name     = local.hosts[each.key]
  type     = "A"
  ttl      = 60
  records  = [aws_network_interface.node[each.key].private_ip]
}

# One name for all: clients learn the rest from the server they reach.
resource "aws_route53_record" "all" {
  zone_id = aws_route53_zone.internal.zone_id
  name    = "nats.${local.zone}"
  type    = "A"
  ttl     = 60
  records = [for az in local.azs : aws_network_interface.node[az].private_ip]
}

resource "aws_ebs_volume" "log" {
  for_each          = local.nodes
  availability_zone = each.key
  type              = "gp3"
  size              = var.volume.size_gib
  iops              = var.volume.iops
  throughput        = var.volume.throughput_mib
  encrypted         = true
  kms_key_id        = var.kms_key_arn
  final_snapshot    = true # the logs are the truth: no volume goes without a copy
  tags              = { Name = "${var.name}-${each.value}" }
}

resource "aws_instance" "node" {
  for_each                = local.nodes
  ami                     = var.ami_id
  instance_type           = var.instance_type
  iam_instance_profile    = aws_iam_instance_profile.node.name
  disable_api_termination = true
  ebs_optimized           = true
  monitoring              = true

  primary_network_interface {
    network_interface_id = aws_network_interface.node[each.key].id
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = 20
    encrypted   = true
    kms_key_id  = var.kms_key_arn
  }

  user_data = templatefile("${path.module}/cloud-init.yaml.tftpl", {
    region    = var.region
    server    = var.server
    secret_id = aws_secretsmanager_secret.tls.arn
    volume_id = replace(aws_ebs_volume.log[each.key].id, "-", "")
    config = templatefile("${path.module}/nats.conf.tftpl", {
      name      = each.value
      cluster   = var.name
      host      = local.hosts[each.key]
      az        = each.key
      routes    = [for az in local.azs : local.hosts[az]]
      auth      = var.auth
      max_store = floor(var.volume.size_gib * 0.9)
    })
  })

  tags = { Name = "${var.name}-${each.value}" }

  # A changed template would stop all nodes at once. A node takes it when it is
  # replaced, and that is done one at a time.
  lifecycle {
    ignore_changes = [user_data, ami]

    precondition {
      condition     = length(jsonencode(var.auth)) < 8000
      error_message = "auth: the JWTs don't fit user data (16 KiB in all); use fewer accounts."
    }
  }
}

resource "aws_volume_attachment" "log" {
  for_each                       = local.nodes
  device_name                    = "/dev/sdf"
  volume_id                      = aws_ebs_volume.log[each.key].id
  instance_id                    = aws_instance.node[each.key].id
  stop_instance_before_detaching = true
}
