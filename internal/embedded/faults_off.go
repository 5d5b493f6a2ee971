//go:build !faultinject

package embedded

// faultNoSync runs the broker with its own default, which acknowledges before the
// disk has a message. The power-cut test switches it on (tag faultinject) to show
// that it would notice.
const faultNoSync = false
