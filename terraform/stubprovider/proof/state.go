package proof

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
)

// Resource is a resource as a state has it.
type Resource struct {
	Address string         `json:"address"`
	Mode    string         `json:"mode"`
	Type    string         `json:"type"`
	Index   any            `json:"index"`
	Values  map[string]any `json:"values"`
}

type module struct {
	Resources []Resource `json:"resources"`
	Children  []module   `json:"child_modules"`
}

func (m module) all() []Resource {
	out := m.Resources
	for _, c := range m.Children {
		out = append(out, c.all()...)
	}
	return out
}

// States reads what `terraform test -json -verbose` prints: the states that its
// applied runs ended in, by run.
func States(output []byte) (map[string][]Resource, error) {
	states := map[string][]Resource{}
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 256<<20) // a state comes with the schemas of its providers
	for lines.Scan() {
		var line struct {
			Type  string `json:"type"`
			Run   string `json:"@testrun"`
			State struct {
				Root module `json:"root_module"`
			} `json:"test_state"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("read the output of terraform test: %w", err)
		}
		if line.Type == "test_state" {
			states[line.Run] = line.State.Root.all()
		}
	}
	return states, lines.Err()
}

// str, list and yes read a value of a state that may be missing.
func (r Resource) str(name string) string {
	s, _ := r.Values[name].(string)
	return s
}

func (r Resource) yes(name string) bool {
	b, _ := r.Values[name].(bool)
	return b
}

func (r Resource) list(name string) []map[string]any {
	var out []map[string]any
	l, _ := r.Values[name].([]any)
	for _, x := range l {
		if m, ok := x.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}
