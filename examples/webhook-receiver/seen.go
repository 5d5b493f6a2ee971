package main

import "sync"

// seen remembers the newest ids, so that a repeated delivery counts once.
type seen struct {
	mu    sync.Mutex
	known map[string]bool
	order []string // a ring
	next  int
}

func newSeen(size int) *seen {
	return &seen{known: make(map[string]bool, size), order: make([]string, size)}
}

// add reports whether an id is new.
func (s *seen) add(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[id] {
		return false
	}
	delete(s.known, s.order[s.next])
	s.order[s.next], s.known[id] = id, true
	s.next = (s.next + 1) % len(s.order)
	return true
}
