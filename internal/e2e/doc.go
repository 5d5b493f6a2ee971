// Package e2e proves the service from outside: real processes, killed, stopped
// and fed at random, compared with an independent recomputation of INGEST.
//
// There is no code here but tests. A short form runs with every `go test`; the
// long form with its doses and mutants is `go tool task prove:crash`.
package e2e
