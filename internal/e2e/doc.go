// Package e2e holds the proofs about the whole system: real processes, killed
// and restarted, compared with an independent recomputation. It has tests only.
package e2e
