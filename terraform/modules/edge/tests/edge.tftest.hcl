mock_provider "cloudflare" {}

variables {
  name        = "edgepulse"
  account_id  = "acc"
  zone_id     = "zone"
  hostname    = "ingest.example.com"
  origin      = { hostname = "origin.example.com", target = "lb.example.com" }
  worker      = { bundle = "tests/worker.js", compatibility_date = "2026-07-01" }
  edge_secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  edge_pepper = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
}

run "edge" {
  command = apply
  variables {
    dashboard_hostname = "pulse.example.com"
  }
  assert {
    condition     = toset([for b in cloudflare_workers_script.edge.bindings : b.type]) == toset(["kv_namespace", "r2_bucket", "plain_text", "ratelimit", "secret_text"])
    error_message = "The Worker's bindings."
  }
  assert {
    condition     = alltrue([for b in cloudflare_workers_script.edge.bindings : b.type != "plain_text" || b.name == "ORIGIN_URL"])
    error_message = "Only the origin is plain text."
  }
  assert {
    condition     = !anytrue([for d in cloudflare_r2_managed_domain.closed : d.enabled]) && !cloudflare_workers_script_subdomain.closed.enabled && !cloudflare_workers_script_subdomain.closed.previews_enabled
    error_message = "No public bucket, no second way in."
  }
  assert {
    condition     = [for b in cloudflare_workers_script.edge.bindings : b.bucket_name if b.type == "r2_bucket"] == ["edgepulse-spill"]
    error_message = "The Worker reaches the spill and not the archive."
  }
  assert {
    condition     = toset([for r in cloudflare_r2_bucket_lock.archive.rules : r.prefix]) == toset(["ingest/", "deliveries/"])
    error_message = "Segments are locked, spills are not."
  }
  assert {
    condition     = alltrue([for r in cloudflare_r2_bucket_lifecycle.archive.rules : r.delete_objects_transition == null])
    error_message = "No rule deletes what was acknowledged."
  }
  assert {
    condition     = cloudflare_dns_record.origin.proxied && one(cloudflare_ruleset.rate_limit.rules).action == "block"
    error_message = "The origin is behind Cloudflare, floods are blocked before the Worker."
  }
  assert {
    condition     = length(cloudflare_pages_project.dashboard) == 1
    error_message = "A dashboard on Pages when it has a name."
  }
}

run "no_dashboard" {
  command = apply
  assert {
    condition     = length(cloudflare_pages_project.dashboard) == 0
    error_message = "No name, no dashboard on Pages."
  }
}

run "weak_secret" {
  command = plan
  variables {
    edge_secret = "short"
  }
  expect_failures = [var.edge_secret]
}
