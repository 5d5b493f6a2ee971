package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// queries are the query parameters of each operation, as the contract has them.
func (d document) queries() map[string][]string {
	out := map[string][]string{}
	d.at("paths").each(func(path string, item document) {
		item.each(func(method string, op document) {
			known := []string{}
			for _, p := range op.at("parameters").items() {
				if name := p.refers(); name != "" {
					p = d.at("components", "parameters", name)
				}
				if p.at("in").text() == "query" {
					known = append(known, p.at("name").text())
				}
			}
			out[strings.ToUpper(method)+" "+path] = known
		})
	})
	return out
}

// knownQuery refuses parameters that the contract does not have for a route: a
// misspelt filter must not answer with everything. It stands behind the question
// who asks, so that strangers learn nothing.
func (s *Server) knownQuery(pattern string, next http.Handler) http.Handler {
	known := s.docs.queries[pattern]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			if p := queryFault(r.URL.RawQuery, known); p != nil {
				s.problem(w, r, p)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func queryFault(raw string, known []string) *problem {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return newProblem(http.StatusBadRequest, "bad_query", "the query string is not URL-encoded")
	}
	var unknown []string
	for name := range values {
		if !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown) // the same answer to the same request
	return badParameter(unknown[0], unknownParameter(known))
}

func unknownParameter(known []string) string {
	if len(known) == 0 {
		return "is unknown; this route takes none"
	}
	return fmt.Sprintf("is unknown; expected one of %s", strings.Join(known, ", "))
}
