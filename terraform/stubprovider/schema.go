package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// document is what schemas.mjs writes.
type document struct {
	Provider  level            `json:"provider"`
	Resources map[string]level `json:"resources"`
	Data      map[string]level `json:"data"`
}

type level struct {
	Attributes []attribute `json:"attributes"`
	Blocks     []nested    `json:"blocks"`
}

type attribute struct {
	Name      string          `json:"name"`
	Required  bool            `json:"required"`
	Optional  bool            `json:"optional"`
	Computed  bool            `json:"computed"`
	WriteOnly bool            `json:"write_only"`
	Type      json.RawMessage `json:"type"`
	Nesting   string          `json:"nesting"`
	Nested    *level          `json:"nested"`
}

type nested struct {
	Name    string `json:"name"`
	Nesting string `json:"nesting"`
	Min     int64  `json:"min"`
	Max     int64  `json:"max"`
	Block   level  `json:"block"`
}

func readSchemas(file string) (*tfprotov6.GetProviderSchemaResponse, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read schemas: %w", err)
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("read schemas of %s: %w", file, err)
	}
	resp := &tfprotov6.GetProviderSchemaResponse{ServerCapabilities: &tfprotov6.ServerCapabilities{},
		ResourceSchemas: map[string]*tfprotov6.Schema{}, DataSourceSchemas: map[string]*tfprotov6.Schema{}}
	if resp.Provider, err = doc.Provider.schema(); err != nil {
		return nil, fmt.Errorf("schema of the provider: %w", err)
	}
	for name, l := range doc.Resources {
		if resp.ResourceSchemas[name], err = l.schema(); err != nil {
			return nil, fmt.Errorf("schema of %s: %w", name, err)
		}
	}
	for name, l := range doc.Data {
		if resp.DataSourceSchemas[name], err = l.schema(); err != nil {
			return nil, fmt.Errorf("schema of data.%s: %w", name, err)
		}
	}
	return resp, nil
}

func (l level) schema() (*tfprotov6.Schema, error) {
	b, err := l.block()
	return &tfprotov6.Schema{Block: b}, err
}

func (l level) block() (*tfprotov6.SchemaBlock, error) {
	b := &tfprotov6.SchemaBlock{}
	var err error
	if b.Attributes, err = l.attributes(); err != nil {
		return nil, err
	}
	for _, n := range l.Blocks {
		inner, err := n.Block.block()
		if err != nil {
			return nil, fmt.Errorf("block %s: %w", n.Name, err)
		}
		nesting, ok := blockNesting[n.Nesting]
		if !ok {
			return nil, fmt.Errorf("block %s: unknown nesting %q", n.Name, n.Nesting)
		}
		b.BlockTypes = append(b.BlockTypes, &tfprotov6.SchemaNestedBlock{TypeName: n.Name, Nesting: nesting, MinItems: n.Min, MaxItems: n.Max, Block: inner})
	}
	return b, nil
}

func (l level) attributes() ([]*tfprotov6.SchemaAttribute, error) {
	var out []*tfprotov6.SchemaAttribute
	for _, a := range l.Attributes {
		s := &tfprotov6.SchemaAttribute{Name: a.Name, Required: a.Required, Optional: a.Optional, Computed: a.Computed, WriteOnly: a.WriteOnly}
		var err error
		if a.Nested != nil {
			var ok bool
			s.NestedType = &tfprotov6.SchemaObject{}
			if s.NestedType.Nesting, ok = objectNesting[a.Nesting]; !ok {
				return nil, fmt.Errorf("attribute %s: unknown nesting %q", a.Name, a.Nesting)
			}
			s.NestedType.Attributes, err = a.Nested.attributes()
		} else {
			s.Type, err = typeOf(a.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", a.Name, err)
		}
		out = append(out, s)
	}
	return out, nil
}

var (
	blockNesting = map[string]tfprotov6.SchemaNestedBlockNestingMode{
		"single": tfprotov6.SchemaNestedBlockNestingModeSingle, "list": tfprotov6.SchemaNestedBlockNestingModeList,
		"set": tfprotov6.SchemaNestedBlockNestingModeSet, "map": tfprotov6.SchemaNestedBlockNestingModeMap}
	objectNesting = map[string]tfprotov6.SchemaObjectNestingMode{
		"single": tfprotov6.SchemaObjectNestingModeSingle, "struct": tfprotov6.SchemaObjectNestingModeSingle,
		"list": tfprotov6.SchemaObjectNestingModeList, "set": tfprotov6.SchemaObjectNestingModeSet, "map": tfprotov6.SchemaObjectNestingModeMap}
	primitives = map[string]tftypes.Type{"string": tftypes.String, "number": tftypes.Number, "bool": tftypes.Bool, "dynamic": tftypes.DynamicPseudoType}
)

// typeOf reads a type as Terraform writes it in JSON: "string", ["list","string"],
// ["object",{...}].
func typeOf(raw json.RawMessage) (tftypes.Type, error) {
	var name string
	if json.Unmarshal(raw, &name) == nil {
		if t, ok := primitives[name]; ok {
			return t, nil
		}
		return nil, fmt.Errorf("unknown type %q", name)
	}
	var pair []json.RawMessage
	if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
		return nil, fmt.Errorf("type %s is neither a name nor a pair", raw)
	}
	if err := json.Unmarshal(pair[0], &name); err != nil {
		return nil, fmt.Errorf("type %s: %w", raw, err)
	}
	if name == "object" {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(pair[1], &fields); err != nil {
			return nil, fmt.Errorf("type %s: %w", raw, err)
		}
		o := tftypes.Object{AttributeTypes: map[string]tftypes.Type{}}
		for field, r := range fields {
			t, err := typeOf(r)
			if err != nil {
				return nil, err
			}
			o.AttributeTypes[field] = t
		}
		return o, nil
	}
	inner, err := typeOf(pair[1])
	if err != nil {
		return nil, err
	}
	switch name {
	case "list":
		return tftypes.List{ElementType: inner}, nil
	case "set":
		return tftypes.Set{ElementType: inner}, nil
	case "map":
		return tftypes.Map{ElementType: inner}, nil
	default:
		return nil, fmt.Errorf("unknown collection %q", name)
	}
}
