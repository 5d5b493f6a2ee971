package contract

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Answers that are no one JSON value: lines of JSON, rows of CSV, server-sent
// events. The document names the schema of each part beside the content type
// (x-line, x-rows, x-events); each part is held against it like an answer of its
// own, by an operation that is added to the strict document for it.

// partPath is where those operations are; no path of the API begins so.
const partPath = "/x-part/"

// parts are the schemas of the pieces of one content type.
type parts struct {
	line   string            // path of the operation that validates a line
	events map[string]string // likewise, by name of the event
	rows   []row
}

// row is a kind of CSV row: its columns in order, with the types of their cells.
type row struct {
	path    string
	columns []string
	types   map[string][]string
}

// readParts finds the parts of all operations and adds what validates them.
func readParts(root map[string]any, document []byte) (map[string]map[string]parts, error) {
	order, err := propertyOrder(document)
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]parts{}
	added := map[string]any{}
	add := func(schema any) string {
		path := partPath + strconv.Itoa(len(added))
		added[path] = map[string]any{"get": map[string]any{"responses": map[string]any{"200": map[string]any{"description": "A part.",
			"content": map[string]any{"application/json": map[string]any{"schema": schema}}}}}}
		return path
	}
	paths := object(root["paths"])
	for path, item := range paths {
		for method, op := range object(item) {
			name := strings.ToUpper(method) + " " + path
			for kind, c := range object(object(object(object(op)["responses"])["200"])["content"]) {
				content, p := object(c), parts{events: map[string]string{}}
				if line, ok := content["x-line"]; ok {
					p.line = add(line)
				}
				for event, schema := range object(content["x-events"]) {
					p.events[event] = add(schema)
				}
				for _, schema := range list(content["x-rows"]) {
					ref, _ := object(schema)["$ref"].(string)
					named := ref[strings.LastIndexByte(ref, '/')+1:]
					r := row{path: add(schema), columns: order[named], types: map[string][]string{}}
					for column, v := range object(object(object(object(root["components"])["schemas"])[named])["properties"]) {
						r.types[column] = typesOf(object(v)["type"])
					}
					p.rows = append(p.rows, r)
				}
				if p.line == "" && len(p.events) == 0 && len(p.rows) == 0 {
					continue
				}
				if out[name] == nil {
					out[name] = map[string]parts{}
				}
				out[name][kind] = p
			}
		}
	}
	for path, item := range added {
		paths[path] = item
	}
	return out, nil
}

func typesOf(v any) []string {
	if one, ok := v.(string); ok {
		return []string{one}
	}
	var out []string
	for _, t := range list(v) {
		if s, ok := t.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// propertyOrder is the order in which each schema names its properties: that of columns.
func propertyOrder(document []byte) (map[string][]string, error) {
	var d struct {
		Components struct {
			Schemas map[string]struct {
				Properties yaml.Node `yaml:"properties"`
			} `yaml:"schemas"`
		} `yaml:"components"`
	}
	if err := yaml.Unmarshal(document, &d); err != nil {
		return nil, fmt.Errorf("read order of columns: %w", err)
	}
	out := map[string][]string{}
	for name, s := range d.Components.Schemas {
		for i := 0; i+1 < len(s.Properties.Content); i += 2 {
			out[name] = append(out[name], s.Properties.Content[i].Value)
		}
	}
	return out, nil
}

// Of a long answer the first parts are checked and then every manyth.
const firstParts, manyth = 100, 97

func looked(i int) bool { return i < firstParts || i%manyth == 0 }

// checkParts holds the parts of an answer against their schemas; cut = its end is missing.
func (c *Contract) checkParts(p parts, body []byte, cut bool) []string {
	switch {
	case p.line != "":
		return c.checkLines(p, body, cut)
	case len(p.rows) > 0:
		return c.checkRows(p, body, cut)
	case len(p.events) > 0:
		return c.checkEvents(p, body)
	}
	return nil
}

func (c *Contract) checkLines(p parts, body []byte, cut bool) (out []string) {
	lines := bytes.Split(body, []byte("\n"))
	if last := lines[len(lines)-1]; len(last) > 0 && !cut {
		out = append(out, "the last line has no end")
	}
	for i, line := range lines[:len(lines)-1] {
		if looked(i) {
			out = append(out, c.part(p.line, fmt.Sprintf("line %d", i+1), line)...)
		}
	}
	return out
}

func (c *Contract) checkRows(p parts, body []byte, cut bool) (out []string) {
	if cut {
		body = body[:bytes.LastIndexByte(body, '\n')+1]
	}
	r := csv.NewReader(bytes.NewReader(body))
	head, err := r.Read()
	if err != nil {
		return []string{"the CSV has no header: " + err.Error()}
	}
	var kind *row
	for i := range p.rows {
		if strings.Join(p.rows[i].columns, ",") == strings.Join(head, ",") {
			kind = &p.rows[i]
		}
	}
	if kind == nil {
		return []string{fmt.Sprintf("the header %q is not documented", head)}
	}
	for i := 0; ; i++ {
		cells, err := r.Read() // refuses another number of cells
		if err == io.EOF {
			return out
		}
		if err != nil {
			return append(out, err.Error())
		}
		if !looked(i) {
			continue
		}
		object := map[string]any{}
		for k, cell := range cells {
			object[head[k]] = kind.value(head[k], cell)
		}
		text, err := json.Marshal(object)
		if err != nil {
			return append(out, err.Error())
		}
		out = append(out, c.part(kind.path, fmt.Sprintf("row %d", i+1), text)...)
	}
}

// value is a cell as JSON: what is not of the column's type stays a text, and is refused.
func (r *row) value(column, cell string) any {
	for _, t := range r.types[column] {
		switch t {
		case "null":
			if cell == "" {
				return nil
			}
		case "number", "integer":
			if json.Valid([]byte(cell)) {
				return json.RawMessage(cell)
			}
		case "boolean":
			if cell == "true" || cell == "false" {
				return json.RawMessage(cell)
			}
		}
	}
	return cell
}

// checkEvents reads the format of server-sent events, strictly: what this service
// writes has one line of data and a known name.
func (c *Contract) checkEvents(p parts, body []byte) (out []string) {
	blocks := strings.Split(string(body), "\n\n")
	for i, block := range blocks[:len(blocks)-1] { // the last is not complete
		name, data := "", ""
		for line := range strings.SplitSeq(block, "\n") {
			field, value, _ := strings.Cut(line, ":")
			value = strings.TrimPrefix(value, " ")
			switch field {
			case "event":
				name = value
			case "data":
				data += value
			case "", "id", "retry":
			default:
				out = append(out, fmt.Sprintf("event %d has a field %q", i+1, field))
			}
		}
		if name == "" && data == "" {
			continue
		}
		path, ok := p.events[name]
		if !ok {
			out = append(out, fmt.Sprintf("event %d is called %q: the document does not have it", i+1, name))
			continue
		}
		c.mu.Lock()
		c.events[name]++
		c.mu.Unlock()
		if looked(i) {
			out = append(out, c.part(path, fmt.Sprintf("event %d (%s)", i+1, name), []byte(data))...)
		}
	}
	return out
}

// Events counts the server-sent events that were checked, by name.
func (c *Contract) Events() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]int{}
	for name, n := range c.events {
		out[name] = n
	}
	return out
}

// part holds one piece against its schema.
func (c *Contract) part(path, what string, text []byte) []string {
	r, err := http.NewRequest(http.MethodGet, path, http.NoBody)
	if err != nil {
		return []string{err.Error()}
	}
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(text)), Request: r}
	if ok, errs := c.valid.ValidateHttpResponse(r, answer); !ok {
		return []string{fmt.Sprintf("%s: %s: %.300s", what, describe(errs), text)}
	}
	return nil
}
