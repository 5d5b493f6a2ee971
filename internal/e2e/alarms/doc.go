// Package alarms proves that a real Prometheus with the rules of
// dashboard/prometheus names a stage that has died: every stage a process of its
// own, killed with SIGKILL. It needs the prometheus binary, hence the build tag:
//
//	go tool task monitoring:prove
package alarms
