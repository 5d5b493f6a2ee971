terraform {
  required_version = ">= 1.11"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
    cloudflare = {
      source  = "cloudflare/cloudflare"
      version = "~> 5.14"
    }
  }

  # Fill in by `terraform init -backend-config=backend.hcl`: bucket, key, region,
  # kms_key_id. The bucket is private, versioned and encrypted.
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { Service = "edgepulse", Deployment = var.name }
  }
}

# Takes its token from CLOUDFLARE_API_TOKEN.
provider "cloudflare" {}
