# The Worker in front of the gateway, and what it needs: hashes of keys (KV), a place
# for what the origin could not take (R2), limits. The archive is in R2 too: the
# archiver, which drains the spill, has one set of credentials for its object store.

locals {
  # Two buckets: the Worker's binding reaches all of a bucket, and it has no business
  # in the archive.
  buckets = { archive = "${var.name}-archive", spill = "${var.name}-spill" }
}

resource "cloudflare_workers_kv_namespace" "keys" {
  account_id = var.account_id
  title      = "${var.name}-keys"
}

resource "cloudflare_r2_bucket" "this" {
  for_each   = local.buckets
  account_id = var.account_id
  name       = each.value
  location   = var.bucket_location
}

# Private: no custom domain and no r2.dev address is ever attached to them.
resource "cloudflare_r2_managed_domain" "closed" {
  for_each    = local.buckets
  account_id  = var.account_id
  bucket_name = cloudflare_r2_bucket.this[each.key].name
  enabled     = false
}

# No rule deletes an object: a spill that is not drained must be mended, not forgotten.
resource "cloudflare_r2_bucket_lifecycle" "archive" {
  account_id  = var.account_id
  bucket_name = cloudflare_r2_bucket.this["archive"].name
  rules = [
    {
      id                                 = "leftovers"
      enabled                            = true
      conditions                         = { prefix = "" }
      abort_multipart_uploads_transition = { condition = { type = "Age", max_age = 2 * 86400 } }
    },
    {
      id         = "cool"
      enabled    = true
      conditions = { prefix = "ingest/" }
      storage_class_transitions = [{
        condition     = { type = "Age", max_age = var.archive_cool_days * 86400 }
        storage_class = "InfrequentAccess"
      }]
    },
  ]
}

# Segments can't be changed, by anybody, for a while. Spills must be deletable.
resource "cloudflare_r2_bucket_lock" "archive" {
  account_id  = var.account_id
  bucket_name = cloudflare_r2_bucket.this["archive"].name
  rules = [
    for prefix in ["ingest/", "deliveries/"] : {
      id        = "keep-${trimsuffix(prefix, "/")}"
      enabled   = true
      prefix    = prefix
      condition = { type = "Age", max_age_seconds = var.archive_lock_days * 86400 }
    }
  ]
}

resource "cloudflare_workers_script" "edge" {
  account_id         = var.account_id
  script_name        = "${var.name}-edge"
  main_module        = basename(var.worker.bundle)
  content_file       = var.worker.bundle
  content_sha256     = filesha256(var.worker.bundle)
  compatibility_date = var.worker.compatibility_date

  # The names are the Worker's (gateway/worker/src/env.ts).
  bindings = [
    { type = "kv_namespace", name = "KEYS", namespace_id = cloudflare_workers_kv_namespace.keys.id },
    { type = "r2_bucket", name = "SPILL", bucket_name = cloudflare_r2_bucket.this["spill"].name },
    { type = "ratelimit", name = "KEY_LIMIT", namespace_id = "1001", simple = { limit = var.key_requests_per_minute, period = 60 } },
    { type = "ratelimit", name = "STRANGER_LIMIT", namespace_id = "1002", simple = { limit = var.stranger_requests_per_minute, period = 60 } },
    { type = "plain_text", name = "ORIGIN_URL", text = "https://${var.origin.hostname}" },
    { type = "secret_text", name = "EDGE_SECRET", text = var.edge_secret },
    { type = "secret_text", name = "EDGE_PEPPER", text = var.edge_pepper },
  ]

  observability = {
    enabled            = true
    head_sampling_rate = 0.1
  }
}

# No second way in: neither workers.dev nor previews.
resource "cloudflare_workers_script_subdomain" "closed" {
  account_id       = var.account_id
  script_name      = cloudflare_workers_script.edge.script_name
  enabled          = false
  previews_enabled = false
}

resource "cloudflare_workers_custom_domain" "edge" {
  account_id = var.account_id
  zone_id    = var.zone_id
  hostname   = var.hostname
  service    = cloudflare_workers_script.edge.script_name
}

# Proxied: the load balancer then only needs to be reachable from Cloudflare's ranges.
resource "cloudflare_dns_record" "origin" {
  zone_id = var.zone_id
  name    = var.origin.hostname
  type    = "CNAME"
  content = var.origin.target
  proxied = true
  ttl     = 1
}

resource "cloudflare_ruleset" "rate_limit" {
  zone_id = var.zone_id
  name    = "${var.name} rate limit"
  kind    = "zone"
  phase   = "http_ratelimit"
  rules = [{
    description = "requests of one address"
    expression  = "(http.host eq \"${var.hostname}\")"
    action      = "block"
    enabled     = true
    ratelimit = {
      characteristics     = ["ip.src", "cf.colo.id"]
      period              = 10
      requests_per_period = var.address_requests_per_10s
      mitigation_timeout  = 10
    }
  }]
}
