terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }
}

provider "aws" {
  region = "eu-central-1"
}

# The least that can be said: everything else has a default. Values in capitals are
# yours. Fill the secrets by hand (output secrets) before the stages can start.

module "edgepulse" {
  source = "../../modules/service"

  name   = "edgepulse"
  region = "eu-central-1"
  azs    = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]

  images = {
    edgepulse           = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/edgepulse@sha256:0000000000000000000000000000000000000000000000000000000000000000"
    init                = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/busybox@sha256:0000000000000000000000000000000000000000000000000000000000000000"
    collector           = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/prometheus@sha256:0000000000000000000000000000000000000000000000000000000000000000"
    ecr_repository_arns = [for name in ["edgepulse", "busybox", "prometheus"] : "arn:aws:ecr:eu-central-1:111122223333:repository/${name}"]
  }
  certificate_arn = "arn:aws:acm:eu-central-1:111122223333:certificate/CERTIFICATE"

  nats = {
    ami_id = "ami-00000000000000000"
    server = { bucket = "ARTEFACTS", key = "nats-server-v2.15.2-linux-arm64", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }
    auth   = { operator_jwt = "OPERATOR_JWT", system_account_id = "SYSTEM", account_jwts = { SYSTEM = "SYSTEM_JWT", ACCOUNT = "ACCOUNT_JWT" } }
  }
}

output "secrets" {
  description = "Secrets to fill."
  value       = module.edgepulse.secrets
}

output "migrate_command" {
  description = "Then run this, once per deployment."
  value       = module.edgepulse.migrate_command
}
