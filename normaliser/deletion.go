package normaliser

import "github.com/edgepulse/edgepulse/schemas"

// control takes the changes that concern this stage: the deletion of a tenant.
func (f *Fold) control(c *schemas.Control) {
	d := c.GetTenantDeleted()
	tenant, err := schemas.IDFrom(c.TenantId)
	if d == nil || err != nil {
		return
	}
	if len(d.MetricIds) > 0 {
		for _, raw := range d.MetricIds {
			if id, err := schemas.IDFrom(raw); err == nil {
				f.drop(tenant, id)
			}
		}
		return
	}
	for _, id := range f.metrics.Keys() {
		f.drop(tenant, id)
	}
	for _, id := range f.keys.Keys() {
		if k, _ := f.keys.Get(id); k.tenant == tenant {
			f.keys.Delete(id)
		}
	}
	delete(f.tenants, tenant)
}

// drop forgets a metric, if it is the tenant's. What waits for its deadline finds nothing.
func (f *Fold) drop(tenant, id schemas.ID) {
	if m, ok := f.metrics.Get(id); ok && m.tenant == tenant {
		f.tenant(tenant).metrics--
		f.metrics.Delete(id)
	}
}
