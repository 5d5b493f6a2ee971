package stream

// State is a placeholder for the type below until this file is complete.
type State struct{}
