# The dashboard's files on Pages, uploaded with `wrangler pages deploy`. It talks to
# the API at var.hostname.

resource "cloudflare_pages_project" "dashboard" {
  count             = var.dashboard_hostname == null ? 0 : 1
  account_id        = var.account_id
  name              = "${var.name}-dashboard"
  production_branch = "main"
}

resource "cloudflare_pages_domain" "dashboard" {
  count        = var.dashboard_hostname == null ? 0 : 1
  account_id   = var.account_id
  project_name = cloudflare_pages_project.dashboard[0].name
  name         = var.dashboard_hostname
}

resource "cloudflare_dns_record" "dashboard" {
  count   = var.dashboard_hostname == null ? 0 : 1
  zone_id = var.zone_id
  name    = var.dashboard_hostname
  type    = "CNAME"
  content = cloudflare_pages_project.dashboard[0].subdomain
  proxied = true
  ttl     = 1
}
