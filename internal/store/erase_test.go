package store_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/edgepulse/edgepulse/internal/store"
	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// many fills a world with more than one step of a deletion, sealed and recent.
func many(t *testing.T, w *world, points int) {
	t.Helper()
	w.declare()
	root := uint64(10)
	for i := 0; i < points; i += 1000 {
		w.apply(stream.Points, func(rows *stream.RowSet) {
			for j := range min(1000, points-i) {
				w.point(rows, i+j, float64(j), root)
			}
		})
		root++
	}
	w.apply(stream.Scores, func(rows *stream.RowSet) {
		for i := range 200 {
			w.score(rows, i, severityOf(i), root)
		}
	})
	if _, err := w.db.Seal(t.Context(), stream.Points); err != nil {
		t.Fatal(err)
	}
	w.apply(stream.Points, func(rows *stream.RowSet) { w.point(rows, points+1, 1, root) })
}

// TestEraseTenant: nothing of the tenant is left in any table that knows tenants,
// whoever added it; nothing of the other is touched; and it can be begun again.
func TestEraseTenant(t *testing.T) {
	db := storetest.New(t)
	a, b := newWorld(t, db, "a"), newWorld(t, db, "b")
	for _, w := range []*world{a, b} {
		many(t, w, 3000)
		if _, _, err := db.CreateKey(t.Context(), w.tenant, []string{"read"}, store.KeyOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := db.DataKeys().Sealing(t.Context(), w.tenant); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.CreateAnalyst(t.Context(), a.tenant, "analyst_of_a", "secret"); err != nil {
		t.Fatal(err)
	}
	others, err := db.TenantRows(t.Context(), b.tenant)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Forget(t.Context(), a.tenant); err != nil {
		t.Fatal(err)
	}
	if rows, _ := db.TenantRows(t.Context(), a.tenant); len(rows) == 0 || others["datapoint_chunks"] == 0 || others["datapoint_recent"] == 0 {
		t.Fatalf("nothing is there to be deleted, or a tenant went without its deletion having begun: %v, %v", rows, others)
	}

	revoked, err := db.BeginErasure(t.Context(), a.tenant)
	if err != nil || revoked != 1 {
		t.Fatalf("%d keys revoked, %v", revoked, err)
	}
	if revoked, err = db.BeginErasure(t.Context(), a.tenant); err != nil || revoked != 0 {
		t.Fatalf("begun again: %d keys revoked, %v", revoked, err)
	}
	if err := db.Forget(t.Context(), a.tenant); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("the tenant went before its rows: %v", err)
	}
	metrics, err := db.TenantMetrics(t.Context(), a.tenant)
	if err != nil || len(metrics) != 1 || metrics[0] != a.metric {
		t.Fatalf("metrics %v, %v", metrics, err)
	}
	done, err := db.Erase(t.Context(), a.tenant, metrics)
	if err != nil || done["datapoint_chunks"] == 0 || done["api_keys"] != 1 {
		t.Fatalf("%v, %v", done, err)
	}
	if err := db.Forget(t.Context(), a.tenant); err != nil {
		t.Fatal(err)
	}
	if rows, err := db.TenantRows(t.Context(), a.tenant); err != nil || len(rows) != 0 {
		t.Errorf("left: %v, %v", rows, err)
	}
	if rows, err := db.TenantRows(t.Context(), b.tenant); err != nil || len(rows) != len(others) {
		t.Errorf("the other tenant has %v, it had %v: %v", rows, others, err)
	} else {
		for table, n := range others {
			if rows[table] != n {
				t.Errorf("the other tenant has %d rows of %s, it had %d", rows[table], table, n)
			}
		}
	}
	var logins int
	if err := db.Conn(t, db.OwnerDSN).QueryRow(t.Context(), `SELECT count(*) FROM pg_roles WHERE rolname = 'analyst_of_a'`).Scan(&logins); err != nil || logins != 0 {
		t.Errorf("the analyst's login is still there: %v", err)
	}
	if list, err := db.ErasedTenants(t.Context()); err != nil || len(list) != 1 || list[0] != a.tenant {
		t.Errorf("erased tenants %v, %v", list, err)
	}
}

func TestDataKeys(t *testing.T) {
	db := storetest.New(t)
	a, b := newWorld(t, db, "a"), newWorld(t, db, "b")
	first, err := db.DataKeys().Sealing(t.Context(), a.tenant)
	if err != nil {
		t.Fatal(err)
	}
	other, err := db.DataKeys().Sealing(t.Context(), b.tenant)
	if err != nil || other.Key == first.Key || other.ID == first.ID {
		t.Fatalf("two tenants have one key, or none: %v", err)
	}
	again, err := db.DataKeys().Sealing(t.Context(), a.tenant)
	if err != nil || again != first {
		t.Fatalf("another process got another key: %v", err)
	}
	opened, err := db.DataKeys().Opening(t.Context(), first.ID)
	if err != nil || opened != first {
		t.Fatalf("by its id: %v", err)
	}
	if _, err := db.DataKeys().Opening(t.Context(), schemas.ID{1}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a key that never was: %v", err)
	}
	// The API sees the key of the tenant it speaks for, no other.
	if opened, err = db.DataKeysOf(a.tenant).Opening(t.Context(), first.ID); err != nil || opened != first {
		t.Errorf("the tenant's own key: %v", err)
	}
	if _, err := db.DataKeysOf(b.tenant).Opening(t.Context(), first.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant's key: %v", err)
	}
	// What the database holds opens nothing by itself.
	var wrapped []byte
	if err := db.Conn(t, db.OwnerDSN).QueryRow(t.Context(), `SELECT wrapped FROM data_keys WHERE tenant_id = $1`, a.tenant.String()).Scan(&wrapped); err != nil || bytes.Contains(wrapped, first.Key[:]) {
		t.Errorf("the key stands in the clear: %v", err)
	}
	if _, err := db.BeginErasure(t.Context(), a.tenant); err != nil {
		t.Fatal(err)
	}
	if _, err := db.DataKeys().Opening(t.Context(), first.ID); !errors.Is(err, store.ErrDestroyed) {
		t.Errorf("a destroyed key opens: %v", err)
	}
	if _, err := db.DataKeys().Sealing(t.Context(), a.tenant); !errors.Is(err, store.ErrDestroyed) {
		t.Errorf("a destroyed key seals, or another was made: %v", err)
	}
	if _, err := db.Conn(t, db.WriterDSN).Exec(t.Context(), `UPDATE data_keys SET wrapped = NULL, destroyed_at = now()`); err == nil {
		t.Error("the writer may destroy keys")
	}
}

func TestSweep(t *testing.T) {
	db := storetest.New(t)
	a, b := newWorld(t, db, "a"), newWorld(t, db, "b")
	for _, w := range []*world{a, b} {
		many(t, w, 3000)
	}
	if err := db.SetRetention(t.Context(), a.tenant, 3); err != nil {
		t.Fatal(err)
	}
	list, err := db.Retentions(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	days := map[schemas.ID]store.Retention{}
	for _, r := range list {
		days[r.Tenant] = r
	}
	if days[a.tenant].Days != 3 || days[b.tenant].Days != 90 {
		t.Fatalf("retentions %v", list)
	}
	for _, log := range []stream.LogName{stream.Points, stream.Scores} { // recent chunks wait until they are sealed
		if _, err := db.Seal(t.Context(), log); err != nil {
			t.Fatal(err)
		}
	}
	c := db.Conn(t, db.OwnerDSN)
	count := func(w *world) (n int) {
		if err := c.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM datapoints WHERE tenant_id = $1) + (SELECT count(*) FROM anomaly_scores WHERE tenant_id = $1)`, w.tenant.String()).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	whole := count(b)
	// Nothing is old yet; then the tenant's own days have passed.
	for _, now := range []time.Time{at(0).AddDate(0, 0, 3), at(4000).AddDate(0, 0, 3)} {
		would, _, err := db.Sweep(t.Context(), days[a.tenant], now, true)
		if err != nil || (len(would) > 0) != (now == at(4000).AddDate(0, 0, 3)) {
			t.Fatalf("at %s it would delete %v: %v", now, would, err)
		}
		for _, w := range []*world{a, b} {
			done, all, err := db.Sweep(t.Context(), days[w.tenant], now, false)
			if err != nil || !all {
				t.Fatalf("%v, %v", all, err)
			}
			if w == a && len(done) != len(would) {
				t.Errorf("it said it would delete %v and deleted %v", would, done)
			}
		}
	}
	if n := count(a); n != 0 {
		t.Errorf("%d old rows are left", n)
	}
	if n := count(b); n != whole {
		t.Errorf("the other tenant has %d rows, it had %d", n, whole)
	}
}

func TestSegmentsOldEnoughToGo(t *testing.T) {
	db := storetest.New(t)
	for i := range 5 {
		g := store.Segment{Log: stream.Ingest, Partition: 1, FirstRoot: uint64(i*10 + 1), LastRoot: uint64(i*10 + 10), FirstAt: at(i * 100), LastAt: at(i*100 + 50),
			ObjectKey: string(rune('a' + i)), Bytes: 1, Entries: 1, SHA256: make([]byte, 32)}
		if err := db.InsertSegment(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	list, err := db.OldSegments(t.Context(), stream.Ingest, 1, at(260), 10)
	if err != nil || len(list) != 3 || list[0].ObjectKey != "a" {
		t.Fatalf("%v, %v", list, err)
	}
	if list, err = db.OldSegments(t.Context(), stream.Ingest, 1, at(100000), 10); err != nil || len(list) != 4 {
		t.Fatalf("the newest is among the old: %v, %v", list, err)
	}
	if err := db.ForgetSegment(t.Context(), list[0]); err != nil {
		t.Fatal(err)
	}
	if list, err = db.OldSegments(t.Context(), stream.Ingest, 1, at(260), 10); err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
}
