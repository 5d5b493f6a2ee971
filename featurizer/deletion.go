package featurizer

import "github.com/edgepulse/edgepulse/schemas"

// forget drops metrics of a deleted tenant: those named, or all. What waits for a
// deadline of theirs finds nothing.
func (f *Fold) forget(of []byte, d *schemas.TenantDeleted) {
	tenant, err := schemas.IDFrom(of)
	if err != nil {
		return
	}
	drop := func(id schemas.ID) {
		if m, ok := f.metrics.Get(id); ok && m.tenant == tenant {
			f.metrics.Delete(id)
		}
	}
	// Settings have no tenant beside them: ids are derived from the tenant's, so those
	// named can be nobody else's, and all that have settings are named.
	if len(d.MetricIds) == 0 {
		for _, id := range f.metrics.Keys() {
			drop(id)
		}
	}
	for _, raw := range d.MetricIds {
		if id, err := schemas.IDFrom(raw); err == nil {
			drop(id)
			f.settings.Delete(id)
		}
	}
}
