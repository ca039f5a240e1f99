// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// Every write, done or refused, can be asked for as soon as its reply is there.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	begun := time.Now()
	n, err := client.Create(ctx, w.admin, network("n"))
	check(t, err)
	_, err = client.Create(ctx, w.admin, network("n"))
	hasCode(t, "a name twice", err, api.CodeConflict)
	reader, _ := w.with(api.TokenRequest{Name: "r", Role: api.RoleReader})
	_, err = client.Create(ctx, reader, network("m"))
	hasCode(t, "a reader writes", err, api.CodeForbidden)
	check(t, w.admin.Delete(ctx, api.KindNetwork, api.RefTo(n), 0))

	const name = "default-domain:default-project:n"
	for what, c := range map[string]struct {
		query api.AuditQuery
		want  []string
	}{
		"an object":        {api.AuditQuery{Object: name}, []string{"create done", "create conflict", "delete done"}},
		"its UUID":         {api.AuditQuery{Object: n.Meta.UUID}, []string{"create done", "delete done"}},
		"who":              {api.AuditQuery{Who: "r"}, []string{"create-network forbidden"}},
		"an outcome":       {api.AuditQuery{Outcome: "conflict", Since: begun}, []string{"create conflict"}},
		"the last one":     {api.AuditQuery{Limit: 1}, []string{"delete done"}},
		"what comes later": {api.AuditQuery{Since: time.Now()}, nil},
		"before it began":  {api.AuditQuery{Until: begun, Kind: api.KindNetwork}, nil},
	} {
		found, err := w.admin.Audit(ctx, c.query)
		check(t, err)
		var got []string
		for _, e := range found.Items {
			got = append(got, e.Op+" "+e.Outcome)
			if e.Time.Before(begun) || e.Who == "" || e.Role == "" || (e.Outcome == codeDone) == (e.Cause != "") {
				t.Errorf("%s: %+v", what, e)
			}
		}
		if len(got) != len(c.want) || len(got) > 0 && (got[0] != c.want[0] || got[len(got)-1] != c.want[len(c.want)-1]) {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
	_, err = reader.Audit(ctx, api.AuditQuery{})
	hasCode(t, "a reader asks", err, api.CodeForbidden)
	for path, text := range map[string]string{
		"/v1/audit?since=yesterday": "not a time", "/v1/audit?kind=x": "not a kind", "/v1/audit?limit=0": "between 1 and 10000", "/v1/audit?whom=x": "is not known",
		"/v1/audit?local=1": "neither true nor false",
	} {
		status, body := w.raw(http.MethodGet, path, "")
		isError(t, path, status, body, 400, api.CodeInvalid, text)
	}
}

// broken is an audit on a full disk.
type broken struct{}

func (broken) Add(api.AuditEntry) error { return errors.New("no space left") }
func (broken) Find(api.AuditQuery) ([]api.AuditEntry, error) {
	return nil, errors.New("input/output error")
}

// An audit that cannot be kept is noticed, and does not stop the network.
func TestAuditFails(t *testing.T) {
	w := newWorld(t)
	w.server.kept = broken{}
	_, err := client.Create(t.Context(), w.admin, network("n"))
	check(t, err)
	if !w.audit.has("no space left") {
		t.Error("the log says nothing of it")
	}
	_, err = w.admin.Audit(t.Context(), api.AuditQuery{})
	hasCode(t, "an audit that cannot be read", err, api.CodeUnavailable)
	w.server.kept = nil
	_, err = w.admin.Audit(t.Context(), api.AuditQuery{})
	hasCode(t, "no audit", err, api.CodeUnavailable)
}
