// Package browsertest drives the real dashboard in a real Chromium against a real
// `edgepulse up --demo`: one service and one browser for all tests.
//
//	go tool task dashboard:test
//	cd dashboard/browsertest && go test . -pictures /tmp/pictures    # a picture of every page
//	go test . -bin bin/edgepulse -data data                           # against a running demo
//
// It is a module of its own: driving a browser takes packages that the product
// does not need.
package browsertest
