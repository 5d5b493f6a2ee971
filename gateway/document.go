package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is a part of the contract, in the order in which it is written.
type document struct{ node *yaml.Node }

func readDocument(text []byte) (document, error) {
	var n yaml.Node
	if err := yaml.Unmarshal(text, &n); err != nil {
		return document{}, fmt.Errorf("read openapi.yaml: %w", err)
	}
	if len(n.Content) != 1 || n.Content[0].Kind != yaml.MappingNode {
		return document{}, fmt.Errorf("read openapi.yaml: expected one mapping")
	}
	return document{n.Content[0]}, nil
}

// at follows names; what does not exist is empty.
func (d document) at(names ...string) document {
	for _, name := range names {
		next := document{}
		d.each(func(key string, v document) {
			if key == name {
				next = v
			}
		})
		d = next
	}
	return d
}

func (d document) each(fn func(key string, v document)) {
	if d.node == nil || d.node.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(d.node.Content); i += 2 {
		fn(d.node.Content[i].Value, document{d.node.Content[i+1]})
	}
}

func (d document) items() []document {
	var out []document
	if d.node != nil && d.node.Kind == yaml.SequenceNode {
		for _, n := range d.node.Content {
			out = append(out, document{n})
		}
	}
	return out
}

func (d document) text() string {
	if d.node == nil || d.node.Kind != yaml.ScalarNode {
		return ""
	}
	return d.node.Value
}

// refers is the last name of a $ref.
func (d document) refers() string {
	ref := d.at("$ref").text()
	return ref[strings.LastIndexByte(ref, '/')+1:]
}

// appendJSON writes the same as JSON, in the same order.
func (d document) appendJSON(b *bytes.Buffer) error {
	switch d.node.Kind {
	case yaml.MappingNode:
		return d.appendList(b, '{', '}', func(i int) error {
			if i%2 == 1 {
				return document{d.node.Content[i]}.appendJSON(b)
			}
			key, err := json.Marshal(d.node.Content[i].Value) // also of '200'
			b.Write(key)
			return err
		})
	case yaml.SequenceNode:
		return d.appendList(b, '[', ']', func(i int) error { return document{d.node.Content[i]}.appendJSON(b) })
	case yaml.ScalarNode:
		var v any = d.node.Value
		switch d.node.Tag {
		case "!!int", "!!float", "!!bool", "!!null":
			if err := d.node.Decode(&v); err != nil {
				return fmt.Errorf("line %d: %w", d.node.Line, err)
			}
		}
		text, err := json.Marshal(v)
		b.Write(text)
		return err
	}
	return fmt.Errorf("line %d: aliases are not used here", d.node.Line)
}

func (d document) appendList(b *bytes.Buffer, open, end byte, one func(i int) error) error {
	b.WriteByte(open)
	for i := range d.node.Content {
		switch {
		case i > 0 && open == '{' && i%2 == 1:
			b.WriteByte(':')
		case i > 0:
			b.WriteByte(',')
		}
		if err := one(i); err != nil {
			return err
		}
	}
	b.WriteByte(end)
	return nil
}
