package alerter

import (
	"fmt"

	"github.com/edgepulse/edgepulse/schemas"
)

// forgetTenant drops all that belongs to a deleted tenant. Its open alerts are not
// resolved: nobody is left to be told. The entries that name metrics are for the
// stages before; the one that names none comes last.
func (f *Fold) forgetTenant(msg *schemas.Control) error {
	owner, err := schemas.IDFrom(msg.TenantId)
	if err != nil {
		return fmt.Errorf("control's tenant: %w", err)
	}
	if len(msg.GetTenantDeleted().MetricIds) > 0 {
		return nil
	}
	for _, key := range f.watches.Keys() {
		if w, _ := f.watches.Get(key); w.tenant == owner {
			f.due.set(key, never)
			f.watches.Delete(key)
		}
	}
	for _, key := range f.controls.Keys() {
		if c, _ := f.controls.Get(key); c.tenant == owner {
			f.controls.Delete(key)
		}
	}
	for _, key := range f.metrics.Keys() {
		if m, _ := f.metrics.Get(key); m.tenant == owner {
			f.metrics.Delete(key)
		}
	}
	for id, sub := range f.subjects {
		if sub.tenant == owner {
			delete(f.subjects, id)
		}
	}
	delete(f.tenants, owner)
	return nil
}
