package deliverer

import "context"

// giveUpGone brings forward what waits for tenants that are deleted: the attempt
// finds no endpoint, sends nothing, and records that it gave up.
func (e *Engine) giveUpGone(ctx context.Context) {
	tenants := e.book.tenants()
	if len(tenants) == 0 {
		return
	}
	gone, err := e.d.endpoints.source.Gone(ctx, tenants)
	if err != nil {
		e.d.log.Warn("look for deleted tenants", "partition", e.partition, "error", err)
		return
	}
	e.book.hasten(gone, e.d.cfg.Clock.Now())
}
