package gateway

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/edgepulse/edgepulse/schemas"
	"github.com/edgepulse/edgepulse/schemas/api"
	"github.com/edgepulse/edgepulse/schemas/payload"
)

// answerDevice answers a device. Its ETag is that of what was set on it.
func (s *Server) answerDevice(w http.ResponseWriter, r *http.Request, id schemas.ID) {
	d, err := s.deps.Queries.GetDevice(r.Context(), keyFrom(r).TenantID, id, s.now())
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	w.Header().Set("ETag", etag(d.Version))
	s.writeJSON(w, r, http.StatusOK, d)
}

// handlePatchDevice changes the tags that the body names (RFC 7396).
func (s *Server) handlePatchDevice(w http.ResponseWriter, r *http.Request) {
	id, ok := s.pathID(w, r)
	if !ok {
		return
	}
	want, p := ifMatchAny(r)
	if p != nil {
		s.problem(w, r, p)
		return
	}
	tenant := keyFrom(r).TenantID
	now, err := s.deps.Queries.GetDevice(r.Context(), tenant, id, s.now())
	if err == nil && want != nil && *want != now.Version {
		err = ErrVersion
	}
	if err != nil {
		s.queryFailed(w, r, err)
		return
	}
	var body struct {
		Tags tagsPatch `json:"tags"`
	}
	body.Tags = patchOf(now.Tags)
	if !s.readJSON(w, r, &body) {
		return
	}
	changed := api.DeviceSettings{Tags: body.Tags.tags()}
	c := &checker{}
	c.tags("/tags", changed.Tags)
	if p := c.problem(); p != nil {
		s.problem(w, r, p)
		return
	}
	if _, err := s.deps.Queries.UpdateDeviceSettings(r.Context(), tenant, id, changed, &now.Version); err != nil {
		s.queryFailed(w, r, err)
		return
	}
	s.answerDevice(w, r, id)
}

// tagsPatch is a merge patch of tags, decoded over those there are: a tag that
// became null is removed, and null instead of the object removes all.
type tagsPatch map[string]*string

func patchOf(tags map[string]string) tagsPatch {
	out := tagsPatch{}
	for k, v := range tags {
		out[k] = &v
	}
	return out
}

func (p tagsPatch) tags() map[string]string {
	out := map[string]string{}
	for k, v := range p {
		if v != nil {
			out[k] = *v
		}
	}
	return out
}

func (c *checker) tags(pointer string, tags map[string]string) {
	c.that(len(tags) <= payload.MaxTags, pointer, "too_many", fmt.Sprintf("expected at most %d tags", payload.MaxTags))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		if why := payload.TagFault(k, tags[k]); why != "" {
			c.that(false, pointer+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(k), payload.CodeBadTags, why)
		}
	}
}
