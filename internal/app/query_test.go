package app

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/edgepulse/edgepulse/gateway"
	"github.com/edgepulse/edgepulse/schemas/api"
)

// No operation of the contract takes a parameter that the contract does not have:
// each names it and those that there are.
func TestUnknownQueryParametersAreRefused(t *testing.T) {
	b := newAPIBench(t)
	asked := 0
	for _, o := range b.c.Operations() {
		target := b.target(o)
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		queries := []string{"zzz=1"}
		if o.Path == "/v1/metrics" || o.Path == "/v1/alert-rules" {
			queries = append(queries, "colour", "limit%20=5")
		}
		for _, query := range queries {
			key, headers := b.key, []string(nil)
			switch o.Scope {
			case "":
				key = ""
			case gateway.ScopeOwner:
				key, headers = "", []string{"Authorization", "Bearer " + ownerToken}
			}
			r := b.do(o.Method, target+sep+query, key, bodies[o.Name()], headers...)
			var p api.Problem
			err := json.Unmarshal(r.Body.Bytes(), &p)
			name := strings.ReplaceAll(strings.Split(query, "=")[0], "%20", " ")
			if r.Code != http.StatusBadRequest || err != nil || p.Code != "bad_parameter" || len(p.Errors) != 1 || p.Errors[0].Pointer != "?"+name {
				t.Errorf("%s with %s: %d %s", o.Name(), query, r.Code, r.Body)
				continue
			}
			for _, known := range o.Query {
				if !strings.Contains(p.Errors[0].Detail, known.Name) {
					t.Errorf("%s: %q does not name %s", o.Name(), p.Errors[0].Detail, known.Name)
				}
			}
			asked++
		}
		if r := b.do(o.Method, target+sep+"%zz", "", ""); r.Code != http.StatusBadRequest && r.Code != http.StatusUnauthorized {
			t.Errorf("%s with a query that is not encoded: %d", o.Name(), r.Code)
		}
	}
	// Who has no key learns no parameters.
	if r := b.do(http.MethodGet, "/v1/devices?zzz=1", "", ""); r.Code != http.StatusUnauthorized {
		t.Error(r.Code, r.Body)
	}
	t.Logf("%d requests to %d operations refused", asked, len(b.c.Operations()))
}
