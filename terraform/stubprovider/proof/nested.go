package proof

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// level is the part of a schema (see schemas.mjs) that names attributes.
type level struct {
	Attributes []struct {
		Name   string `json:"name"`
		Nested *level `json:"nested"`
	} `json:"attributes"`
}

func (l *level) find(name string) (nested *level, known bool) {
	for _, a := range l.Attributes {
		if a.Name == name {
			return a.Nested, true
		}
	}
	return nil, false
}

// UnknownNested finds attributes in nested objects that the schema does not have.
// Terraform drops them without a word: it checks the names of arguments and blocks,
// and converts objects.
func UnknownNested(folder, schemas string) ([]string, error) {
	raw, err := os.ReadFile(schemas)
	if err != nil {
		return nil, fmt.Errorf("read schemas: %w", err)
	}
	var doc struct {
		Resources map[string]*level `json:"resources"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("read schemas: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.tf"))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", folder, err)
	}
	var found []string
	for _, name := range files {
		f, diags := hclparse.NewParser().ParseHCLFile(name)
		if diags.HasErrors() {
			return nil, fmt.Errorf("parse %s: %w", name, diags)
		}
		for _, b := range f.Body.(*hclsyntax.Body).Blocks {
			if b.Type != "resource" || doc.Resources[b.Labels[0]] == nil {
				continue
			}
			for _, a := range b.Body.Attributes {
				if nested, _ := doc.Resources[b.Labels[0]].find(a.Name); nested != nil {
					found = append(found, unknown(a.Expr, nested, b.Labels[0]+"."+b.Labels[1]+": "+a.Name)...)
				}
			}
		}
	}
	return found, nil
}

// unknown follows literal lists, objects and loops; what comes from elsewhere can't be seen here.
func unknown(e hcl.Expression, l *level, path string) (found []string) {
	switch x := e.(type) {
	case *hclsyntax.TupleConsExpr:
		for _, item := range x.Exprs {
			found = append(found, unknown(item, l, path)...)
		}
	case *hclsyntax.ForExpr:
		found = unknown(x.ValExpr, l, path)
	case *hclsyntax.ConditionalExpr:
		found = append(unknown(x.TrueResult, l, path), unknown(x.FalseResult, l, path)...)
	case *hclsyntax.ParenthesesExpr:
		found = unknown(x.Expression, l, path)
	case *hclsyntax.ObjectConsExpr:
		for _, item := range x.Items {
			name := hcl.ExprAsKeyword(item.KeyExpr)
			if name == "" {
				continue // computed
			}
			nested, known := l.find(name)
			if !known {
				found = append(found, fmt.Sprintf("%s has no attribute %s", path, name))
			} else if nested != nil {
				found = append(found, unknown(item.ValueExpr, nested, path+"."+name)...)
			}
		}
	}
	return found
}
