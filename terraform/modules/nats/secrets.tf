# The certificate never enters a plan, the state or user data: nodes fetch it.
resource "aws_secretsmanager_secret" "tls" {
  name                    = "${var.name}/nats/tls"
  description             = "JSON with cert, key and ca in PEM, of the NATS cluster."
  kms_key_id              = var.kms_key_arn
  recovery_window_in_days = 7
}

resource "aws_secretsmanager_secret_version" "tls" {
  count                    = var.tls_version > 0 ? 1 : 0
  secret_id                = aws_secretsmanager_secret.tls.id
  secret_string_wo         = jsonencode(var.tls)
  secret_string_wo_version = var.tls_version
}

resource "aws_iam_role" "node" {
  name = "${var.name}-nats"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_instance_profile" "node" {
  name = "${var.name}-nats"
  role = aws_iam_role.node.name
}

resource "aws_iam_role_policy" "node" {
  name = "fetch-server-and-certificate"
  role = aws_iam_role.node.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Sid = "Certificate", Effect = "Allow", Action = "secretsmanager:GetSecretValue", Resource = aws_secretsmanager_secret.tls.arn },
      { Sid = "Key", Effect = "Allow", Action = "kms:Decrypt", Resource = var.kms_key_arn },
      { Sid = "Server", Effect = "Allow", Action = "s3:GetObject", Resource = "arn:aws:s3:::${var.server.bucket}/${var.server.key}" },
      # Session Manager instead of SSH. These actions know no resources.
      { Sid = "SessionManager", Effect = "Allow", Action = ["ssm:UpdateInstanceInformation", "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel", "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel"], Resource = "*" },
    ]
  })
}
