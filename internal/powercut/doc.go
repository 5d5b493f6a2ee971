// Package powercut shows that an acknowledged batch survives a power cut.
//
// A killed process proves nothing here: what it wrote lives on in the page cache.
// So the whole service runs on a file system of its own inside a file. The cut is a
// copy of that file while every process is stopped: it holds what the device was
// given, and nothing of what waited in the page cache. The copy is mounted in place
// of the original, and what was acknowledged is looked for in INGEST, then through
// the API of a service started on it.
//
//	go tool task prove:powercut
package powercut
