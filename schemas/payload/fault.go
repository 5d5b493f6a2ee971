package payload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// The codes are stable: clients and dashboards may match on them.
const (
	CodeEmptyBody     = "empty_body"      // nothing, or white space only
	CodeMalformed     = "malformed_json"  // not JSON (RFC 8259)
	CodeInvalidUTF8   = "invalid_utf8"    // a string that is not UTF-8
	CodeDuplicateKey  = "duplicate_key"   // one name twice in one object
	CodeTooDeep       = "too_deep"        // nested deeper than the limit
	CodeTooManyPoints = "too_many_points" // more items than the limit
	CodeMixedForms    = "mixed_forms"     // "batches" beside fields of a single device
	CodeUnknownField  = "unknown_field"
	CodeMissingField  = "missing_field"
	CodeWrongType     = "wrong_type"
	CodeBadName       = "bad_name"      // device or metric name
	CodeBadUnit       = "bad_unit"      //
	CodeBadTags       = "bad_tags"      //
	CodeBadTS         = "bad_ts"        // not an instant
	CodeTSTooOld      = "ts_too_old"    // outside the accepted past
	CodeTSInFuture    = "ts_in_future"  // outside the accepted future
	CodeTSMissing     = "ts_missing"    // a second sample without ts for one metric
	CodeNotFinite     = "not_finite"    // a number beyond float64
	CodeNotAnObject   = "not_an_object" // an item that is no object
)

// Fault says what is wrong, where, and what to do. It is the answer to the
// sender, so it may quote what the sender sent; it is never logged.
type Fault struct {
	Code     string
	Pointer  string // RFC 6901; empty = the whole input
	Offset   int64  // byte offset; -1 = not known
	Expected string
	Got      string
	Advice   string
}

// Detail is one sentence for people.
func (f *Fault) Detail() string {
	var b strings.Builder
	switch {
	case f.Expected != "" && f.Got != "":
		b.WriteString("expected " + f.Expected + ", got " + f.Got)
	case f.Expected != "":
		b.WriteString("expected " + f.Expected)
	default:
		b.WriteString(f.Got)
	}
	if f.Offset >= 0 {
		b.WriteString(" at byte " + strconv.FormatInt(f.Offset, 10))
	}
	if f.Advice != "" {
		b.WriteString("; " + f.Advice)
	}
	return b.String()
}

// Error makes a Fault usable as an error.
func (f *Fault) Error() string { return fmt.Sprintf("%s at %q: %s", f.Code, f.Pointer, f.Detail()) }

// syntaxFault translates what the tokenizer refused. The tokenizer's own words
// change between versions; the codes here do not.
func syntaxFault(input []byte, err error) *Fault {
	f := &Fault{Code: CodeMalformed, Offset: -1, Expected: "JSON", Advice: "send one JSON object as RFC 8259 has it"}
	var syn *jsontext.SyntacticError
	if errors.As(err, &syn) {
		f.Pointer, f.Offset = string(syn.JSONPointer), syn.ByteOffset
		f.Got = quote([]byte(syn.Err.Error()), 160)
	}
	switch {
	case len(bytes.TrimLeft(input, " \t\r\n")) == 0:
		return &Fault{Code: CodeEmptyBody, Offset: -1, Expected: "a JSON object", Got: "an empty body",
			Advice: "send a device object, or {\"batches\":[...]}"}
	case errors.Is(err, jsontext.ErrDuplicateName):
		f.Code, f.Expected, f.Got = CodeDuplicateKey, "every name once in an object", "it twice"
		f.Advice = "remove one: which of the two counts is not defined"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		f.Got, f.Advice = "its end too early", "the body was cut off; send it whole"
		f.Offset = int64(len(input))
	case syn != nil && strings.Contains(syn.Err.Error(), "UTF-8"):
		f.Code, f.Expected, f.Got = CodeInvalidUTF8, "UTF-8", "other bytes"
		f.Advice = "encode the body as UTF-8"
	case syn != nil && strings.Contains(syn.Err.Error(), "max depth"):
		return deepFault(f.Pointer[:min(len(f.Pointer), 64)], -1, 8)
	}
	return f
}

func deepFault(pointer string, offset int64, limit int) *Fault {
	return &Fault{Code: CodeTooDeep, Pointer: pointer, Offset: offset,
		Expected: "at most " + strconv.Itoa(limit) + " levels of objects and arrays", Got: "more",
		Advice: "the payload needs six"}
}

// kindOf names a JSON value for people, with the value itself when it is short.
func kindOf(raw []byte) string {
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "the string " + quote(raw, 48)
	case 'n':
		return "null"
	case 't', 'f':
		return string(raw)
	default:
		return "the number " + quote(raw, 48)
	}
}

// quote shortens to whole characters.
func quote(raw []byte, limit int) string {
	if len(raw) <= limit {
		return strings.ToValidUTF8(string(raw), "?")
	}
	for limit > 0 && !utf8.RuneStart(raw[limit]) {
		limit--
	}
	return strings.ToValidUTF8(string(raw[:limit]), "?") + "..."
}

// escapePointer writes one reference token (RFC 6901 section 4).
func escapePointer(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}
