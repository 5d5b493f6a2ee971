package gateway

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/edgepulse/edgepulse/schemas"
)

// The contract as a client reads it: /v1/openapi.json for programs, /v1/docs for
// people. Both are made once, at the start, of schemas/openapi.yaml.

//go:embed docs.html
var docsTemplate string

//go:embed docs.css
var docsStyle []byte

// docsPolicy lets the page have its style, and nothing else.
const docsPolicy = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

type docs struct {
	spec, page, style *uiFile
	queries           map[string][]string // parameters by pattern
}

func newDocs() (*docs, error) {
	d, err := readDocument(schemas.OpenAPI())
	if err != nil {
		return nil, err
	}
	var spec, page bytes.Buffer
	if err := d.appendJSON(&spec); err != nil {
		return nil, fmt.Errorf("write openapi.json: %w", err)
	}
	t, err := template.New("docs").Parse(docsTemplate)
	if err != nil {
		return nil, fmt.Errorf("read template of the docs: %w", err)
	}
	if err := t.Execute(&page, docsOf(d)); err != nil {
		return nil, fmt.Errorf("write docs: %w", err)
	}
	return &docs{newUIFile("openapi.json", spec.Bytes()), newUIFile("docs.html", page.Bytes()), newUIFile("docs.css", docsStyle), d.queries()}, nil
}

func (d *docs) serve(f *uiFile) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { f.serveWith(docsPolicy, w, r) }
}

type (
	docsPage struct {
		Title, Summary string
		About          []template.HTML
		Tags           []docsTag
		Schemas        []docsSchema
	}
	docsTag struct {
		Name       string
		Operations []docsOperation
	}
	docsOperation struct {
		ID, Method, Path, Summary, About, Scope, Optional string
		Parameters                                        []docsField
		Body                                              docsType
		Example                                           string
		Answers                                           []docsAnswer
	}
	docsAnswer struct {
		Status, About string
		Types         []docsType
	}
	docsSchema struct {
		Name, About string
		Type        docsType
		Fields      []docsField
	}
	docsField struct {
		Name, In, About string
		Required        bool
		Type            docsType
	}
	// docsType is words, and names of schemas on the page.
	docsType []docsPart
	docsPart struct{ Text, Schema string }
)

func docsOf(d document) docsPage {
	p := docsPage{Title: d.at("info", "title").text(), Summary: d.at("info", "summary").text()}
	for _, para := range strings.Split(d.at("info", "description").text(), "\n\n") {
		p.About = append(p.About, markup(para))
	}
	for _, tag := range d.at("tags").items() {
		t := docsTag{Name: tag.at("name").text()}
		d.at("paths").each(func(path string, item document) {
			item.each(func(method string, op document) {
				if slices.ContainsFunc(op.at("tags").items(), func(n document) bool { return n.text() == t.Name }) {
					t.Operations = append(t.Operations, docsOperationOf(d, strings.ToUpper(method), path, op))
				}
			})
		})
		p.Tags = append(p.Tags, t)
	}
	d.at("components", "schemas").each(func(name string, v document) {
		p.Schemas = append(p.Schemas, docsSchema{Name: name, About: v.at("description").text(), Type: typeOf(v), Fields: fieldsOf(v)})
	})
	return p
}

func docsOperationOf(d document, method, path string, op document) docsOperation {
	o := docsOperation{ID: op.at("operationId").text(), Method: method, Path: path, Summary: op.at("summary").text(), About: op.at("description").text(),
		Scope: op.at("x-scope").text(), Optional: op.at("x-optional").text()}
	for _, ref := range op.at("parameters").items() {
		v := d.at("components", "parameters", ref.refers())
		o.Parameters = append(o.Parameters, docsField{Name: v.at("name").text(), In: v.at("in").text(), About: v.at("description").text(),
			Required: v.at("required").text() == "true", Type: typeOf(v.at("schema"))})
	}
	body := op.at("requestBody", "content", "application/json")
	o.Body = typeOf(body.at("schema"))
	if example := body.at("example"); example.node != nil {
		var b bytes.Buffer
		_ = example.appendJSON(&b) // was written once already
		o.Example = b.String()
	}
	op.at("responses").each(func(status string, v document) {
		if name := v.refers(); name != "" {
			v = d.at("components", "responses", name)
		}
		a := docsAnswer{Status: status, About: v.at("description").text()}
		v.at("content").each(func(kind string, media document) {
			t := docsType{{Text: kind}}
			if strings.HasSuffix(kind, "json") {
				t = typeOf(media.at("schema"))
			}
			a.Types = append(a.Types, t)
		})
		o.Answers = append(o.Answers, a)
	})
	return o
}

func fieldsOf(v document) []docsField {
	var out []docsField
	v.at("properties").each(func(name string, f document) {
		required := slices.ContainsFunc(v.at("required").items(), func(n document) bool { return n.text() == name })
		out = append(out, docsField{Name: name, About: f.at("description").text(), Required: required, Type: typeOf(f)})
	})
	return out
}

// typeOf is a schema in words.
func typeOf(v document) docsType {
	if v.node == nil {
		return nil
	}
	if name := v.refers(); name != "" {
		return docsType{{Schema: name}}
	}
	for _, several := range []string{"oneOf", "anyOf"} {
		var t docsType
		for _, one := range v.at(several).items() {
			if t != nil {
				t = append(t, docsPart{Text: " or "})
			}
			t = append(t, typeOf(one)...)
		}
		if t != nil {
			return t
		}
	}
	text := v.at("type").text()
	for i, k := range v.at("type").items() {
		if i > 0 {
			text += " or "
		}
		text += k.text()
	}
	for _, inner := range []document{v.at("items"), v.at("additionalProperties")} {
		if of := typeOf(inner); of != nil {
			return append(docsType{{Text: text + " of "}}, of...)
		}
	}
	for _, limit := range []string{"format", "pattern", "minimum", "maximum", "minLength", "maxLength", "default"} {
		if s := v.at(limit).text(); s != "" {
			text += ", " + limit + " " + s
		}
	}
	var values []string
	for _, e := range v.at("enum").items() {
		if e.text() != "" {
			values = append(values, e.text())
		}
	}
	if values != nil {
		text += ": " + strings.Join(values, ", ")
	}
	if text == "" {
		return nil
	}
	return docsType{{Text: text}}
}

// markup turns the little Markdown that the document uses into HTML.
func markup(text string) template.HTML {
	out := template.HTMLEscapeString(text)
	for _, m := range [][3]string{{"**", "<b>", "</b>"}, {"`", "<code>", "</code>"}} {
		parts := strings.Split(out, m[0])
		for i := 1; i < len(parts); i += 2 {
			parts[i] = m[1] + parts[i] + m[2]
		}
		out = strings.Join(parts, "")
	}
	return template.HTML(out) //nolint:gosec // escaped above; the text is our own
}
