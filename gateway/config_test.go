package gateway

import (
	"reflect"
	"testing"

	"github.com/alecthomas/kong"
)

// TestDefaultsAreWhatTheTagsSay: both ways to the defaults lead to the same.
func TestDefaultsAreWhatTheTagsSay(t *testing.T) {
	var got Config
	parser, err := kong.New(&got)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"--pepper=x"}); err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.Pepper = "x" // has no default on purpose
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("tags say %+v\ndefaults are %+v", got, want)
	}
}
