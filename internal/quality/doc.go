// Package quality judges the product by its own output: it sends simulated
// fleets with a known truth through the very folds of the service and compares
// what they publish with what was injected. It holds tests only.
//
//	go test -v -run TestConfusion ./internal/quality               a short week
//	go test -v -run TestConfusion ./internal/quality -args -long   seven days, over 500 anomalies
package quality
