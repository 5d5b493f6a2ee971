package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/edgepulse/edgepulse/internal/store/storetest"
	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/stream"
)

// One connection, position in the same transaction:
// go test ./internal/store -run '^$' -bench Apply
func BenchmarkApply(b *testing.B) {
	db := storetest.New(b)
	w := newWorld(b, db, "acme")
	partition := 0
	for _, kind := range []string{"points", "scores", "receipts"} {
		for _, n := range []int{100, 10000} {
			partition++
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				root, err := db.Position(context.Background(), stream.Points, partition)
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					var rows stream.RowSet
					for i := range n {
						switch kind {
						case "points":
							w.point(&rows, i, float64(i), root)
						case "scores":
							w.score(&rows, i, schemas.Severity_SEVERITY_NONE, root)
						case "receipts":
							rows.Add(batchSpec, w.tenant, fmt.Sprint(root, i), uint32(0), uint32(1), 0, root, us(i), "key", "http",
								uint32(100), uint32(100), uint32(0), uint32(0), nil, nil)
						}
					}
					if err := db.Apply(context.Background(), stream.Points, partition, root, root+1, &rows); err != nil {
						b.Fatal(err)
					}
					root++
				}
				b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}
