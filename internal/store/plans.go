package store

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// ErrLimit says that the tenant's plan allows no more; a *LimitError says of what.
var ErrLimit = errors.New("a limit of the plan is reached")

// LimitError names the limit that a creation has met.
type LimitError struct {
	What string // webhooks, alert rules, keys
	Plan string // empty: the limit holds for every plan
	Most int64
}

func (e *LimitError) Error() string {
	if e.Plan == "" {
		return fmt.Sprintf("a tenant may have %d %s", e.Most, e.What)
	}
	return fmt.Sprintf("the plan %s allows %d %s", e.Plan, e.Most, e.What)
}

// Is makes it an ErrLimit.
func (e *LimitError) Is(target error) bool { return target == ErrLimit }

const planColumns = `name, points_per_month, requests_per_second, points_per_second, max_metrics, max_webhooks, max_rules, retention_days`

func scanPlan(r pgx.Row) (p api.Plan, err error) {
	err = r.Scan(&p.Name, &p.PointsPerMonth, &p.RequestsPerSecond, &p.PointsPerSecond, &p.MaxMetrics, &p.MaxWebhooks, &p.MaxRules, &p.RetentionDays)
	return p, err
}

// ListPlans lists all plans by name.
func (s *Store) ListPlans(ctx context.Context) (out []api.Plan, err error) {
	err = within(ctx, s.owner, "begin read only", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+planColumns+` FROM plans ORDER BY name`)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (api.Plan, error) { return scanPlan(r) })
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list plans: %w", err)
	}
	return out, nil
}

var planName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// PutPlan makes a plan or replaces its limits; tenants on it have them within seconds.
func (s *Store) PutPlan(ctx context.Context, p api.Plan) error {
	if !planName.MatchString(p.Name) {
		return fmt.Errorf("put plan: %w: expected a name of 1 to 64 of a-z, 0-9, _ and -, got %q", ErrInvalid, p.Name)
	}
	err := within(ctx, s.owner, "begin", func(tx pgx.Tx) error {
		return audited(ctx, tx, deed{actor: "owner", action: "plan.put", kind: "plan", target: p.Name}, func() error {
			_, err := tx.Exec(ctx, `INSERT INTO plans (`+planColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
				ON CONFLICT (name) DO UPDATE SET points_per_month = $2, requests_per_second = $3, points_per_second = $4, max_metrics = $5,
				  max_webhooks = $6, max_rules = $7, retention_days = $8`,
				p.Name, p.PointsPerMonth, p.RequestsPerSecond, p.PointsPerSecond, p.MaxMetrics, p.MaxWebhooks, p.MaxRules, p.RetentionDays)
			if isCode(err, "23514") { // check_violation
				return fmt.Errorf("%w: a limit of a plan is out of range", ErrInvalid)
			}
			return err
		})
	})
	if err != nil {
		return fmt.Errorf("put plan %s: %w", p.Name, err)
	}
	return nil
}

// TenantPlan is the plan that a tenant is on.
func (s *Store) TenantPlan(ctx context.Context, tenant schemas.ID) (p api.Plan, err error) {
	err = s.read(ctx, tenant, func(tx pgx.Tx) error {
		p, err = scanPlan(tx.QueryRow(ctx, `SELECT `+planColumns+` FROM plans WHERE name = (SELECT plan FROM tenants WHERE id = $1)`, uuidOf(tenant)))
		return orNotFound(err)
	})
	if err != nil {
		return p, fmt.Errorf("find plan of tenant: %w", err)
	}
	return p, nil
}

// counted are the things whose number a plan bounds.
var counted = map[string]string{
	"webhooks":    `SELECT p.name, p.max_webhooks, (SELECT count(*) FROM webhooks WHERE tenant_id = $1 AND deleted_at IS NULL)`,
	"alert rules": `SELECT p.name, p.max_rules, (SELECT count(*) FROM alert_rules WHERE tenant_id = $1 AND deleted_at IS NULL)`,
}

// withinPlan answers a *LimitError when one more would be too many. Creations of a
// tenant wait for each other: two at once must not both be the last one.
func withinPlan(ctx context.Context, tx pgx.Tx, tenant schemas.ID, what string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, what+tenant.String()); err != nil {
		return fmt.Errorf("lock %s: %w", what, err)
	}
	var plan string
	var most *int64
	var n int64
	err := tx.QueryRow(ctx, counted[what]+` FROM tenants t JOIN plans p ON p.name = t.plan WHERE t.id = $1`, uuidOf(tenant)).Scan(&plan, &most, &n)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // no such tenant: the insertion says so
	}
	if err != nil {
		return fmt.Errorf("count %s: %w", what, err)
	}
	if most != nil && n >= *most {
		return &LimitError{what, plan, *most}
	}
	return nil
}
