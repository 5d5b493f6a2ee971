# Two roles per stage. The execution role is ECS's own, to fetch the image, the
# stage's secrets and write its log; the process never holds it. The task role is the
# process's: only stages that use S3 can do anything with it.

locals {
  tasks_trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account_id }
        ArnLike      = { "aws:SourceArn" = "arn:aws:ecs:${var.region}:${local.account_id}:*" }
      }
    }]
  })

  pull_image = [
    # Knows no resources.
    { Sid = "Login", Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] },
    { Sid = "Image", Effect = "Allow", Action = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], Resource = var.ecr_repository_arns },
  ]

  use_key = { Sid = "Key", Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = var.kms_key_arn }

  # Each fold reads and writes its own snapshots. Deleting is how old ones go. The
  # prefix is compared if there is one: without the right to list, S3 answers 403
  # and not 404 for a missing object.
  snapshot_statements = {
    for s in local.folds : s => [
      { Sid = "Snapshots", Effect = "Allow", Action = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"], Resource = "arn:aws:s3:::${local.snapshot_bucket}/snapshots/${s}/*" },
      { Sid = "List", Effect = "Allow", Action = ["s3:ListBucket"], Resource = "arn:aws:s3:::${local.snapshot_bucket}", Condition = { StringLikeIfExists = { "s3:prefix" = "snapshots/${s}/*" } } },
      local.use_key,
    ]
  }

  # Only the archiver writes the archive, and nobody may delete from it.
  archive_statements = {
    archiver = [
      {
        Sid      = "Archive", Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject"]
        Resource = [for prefix in ["ingest", "deliveries", "models"] : "arn:aws:s3:::${local.archive_bucket}/${prefix}/*"]
      },
      { Sid = "List", Effect = "Allow", Action = ["s3:ListBucket"], Resource = "arn:aws:s3:::${local.archive_bucket}" },
      local.use_key,
    ]
  }

  # Its janitor asks by name what snapshots there are, and reads none.
  snapshot_names = [
    { Sid = "SnapshotNames", Effect = "Allow", Action = ["s3:ListBucket"], Resource = "arn:aws:s3:::${local.snapshot_bucket}", Condition = { StringLike = { "s3:prefix" = "snapshots/*" } } },
  ]

  # With the archive in R2 the archiver has no other rights in AWS.
  archiver_statements = { archiver = concat([for s in local.archive_statements.archiver : s if !local.uses_r2], local.snapshot_names) }

  task_policies = {
    for stage, statements in merge(local.snapshot_statements, local.archiver_statements) :
    stage => jsonencode({ Version = "2012-10-17", Statement = statements })
  }
}

resource "aws_iam_role" "execution" {
  for_each           = merge({ for s, v in local.stages : s => v.group }, { migrate = "admin" })
  name               = "${var.name}-${each.key}-execution"
  assume_role_policy = local.tasks_trust
}

resource "aws_iam_role_policy" "execution" {
  for_each = local.stages
  name     = "start"
  role     = aws_iam_role.execution[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.pull_image, [
      { Sid = "Secrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = local.readable[each.key] },
      { Sid = "Key", Effect = "Allow", Action = ["kms:Decrypt"], Resource = [var.kms_key_arn] },
      { Sid = "Log", Effect = "Allow", Action = ["logs:CreateLogStream", "logs:PutLogEvents"], Resource = ["${aws_cloudwatch_log_group.stage[each.key].arn}:*"] },
    ])
  })
}

resource "aws_iam_role" "task" {
  for_each           = local.stages
  name               = "${var.name}-${each.key}"
  assume_role_policy = local.tasks_trust
}

resource "aws_iam_role_policy" "task" {
  for_each = local.task_policies
  name     = "object-store"
  role     = aws_iam_role.task[each.key].id
  policy   = each.value
}
