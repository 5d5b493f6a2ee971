package replay

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/edgepulse/edgepulse/schemas"
)

func TestDifferenceByField(t *testing.T) {
	score := func(change func(*schemas.Score)) []byte {
		s := &schemas.Score{MetricId: ours[:], Score: .25, Expected: 3, Explanation: "so", Contributors: []*schemas.Contribution{{Name: "range", Share: .5}}}
		change(s)
		return encode(t, &schemas.Entry{Kind: &schemas.Entry_Score{Score: s}})
	}
	same := score(func(*schemas.Score) {})
	for _, c := range []struct {
		name         string
		live, shadow [][]byte
		want         string
	}{
		{"nothing", [][]byte{same}, [][]byte{same}, ""},
		{"last bit", [][]byte{same, same}, [][]byte{same, score(func(s *schemas.Score) { s.Score = math.Nextafter(.25, 1) })},
			"entry 1, score.score: live 0.25, shadow 0.25000000000000006"},
		{"in a list", [][]byte{same}, [][]byte{score(func(s *schemas.Score) { s.Contributors[0].Name = "level" })},
			`entry 0, score.contributors[0].name: live "range", shadow "level"`},
		{"longer list", [][]byte{same}, [][]byte{score(func(s *schemas.Score) { s.Contributors = nil })}, "entry 0, score.contributors[0]: live {"},
		{"identifier", [][]byte{same}, [][]byte{score(func(s *schemas.Score) { s.MetricId = theirs[:] })},
			"entry 0, score.metric_id: live " + ours.String() + ", shadow " + theirs.String()},
		{"enum", [][]byte{same}, [][]byte{score(func(s *schemas.Score) { s.Severity = 2 })}, "entry 0, score.severity: live SEVERITY_NONE, shadow SEVERITY_WARNING"},
		{"less", [][]byte{same, tick(t, 7)}, [][]byte{same}, "entry 1, tick: live tick:{second:7}, shadow nothing"},
		{"another kind", [][]byte{tick(t, 7)}, [][]byte{same}, "entry 0, tick: live {"},
		{"undecodable", [][]byte{{0xff}}, [][]byte{same}, "entry 0, bytes: live 1 bytes ff…"},
	} {
		var got []string
		for _, f := range (&Difference{Live: c.live, Shadow: c.shadow}).Fields() {
			got = append(got, f.String())
		}
		// The text form of protobuf varies its spaces on purpose.
		text := strings.ReplaceAll(fmt.Sprint(strings.Join(got, "; ")), "  ", " ")
		if !strings.HasPrefix(text, c.want) || (c.want == "") != (text == "") {
			t.Errorf("%s: %q, expected %q", c.name, text, c.want)
		}
	}
}

func TestSumTellsEntriesApart(t *testing.T) {
	if sum([][]byte{{1, 2}, {3}}) == sum([][]byte{{1}, {2, 3}}) || sum(nil) == sum([][]byte{{}}) {
		t.Error("other entries have the same sum")
	}
}
