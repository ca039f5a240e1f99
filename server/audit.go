// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/weft-network/weft/api"
)

// Bounds of a question about the audit.
const (
	auditLimit    = 1000
	auditLimitMax = 10_000
)

// Audit keeps who tried to change what.
type Audit interface {
	Add(api.AuditEntry) error
	Find(api.AuditQuery) ([]api.AuditEntry, error)
}

// Colleagues are the other controllers.
type Colleagues interface {
	// Name is how this controller is called among them.
	Name() string
	// Audit asks all others for their entries, each for those that it keeps
	// itself, and says who was asked and who did not answer.
	Audit(context.Context, api.AuditQuery) ([]api.AuditEntry, []api.AuditController)
}

// audit notes who did what to which object and how it ended, before the reply.
// That it cannot be kept is logged and counted, but does not undo what was done.
func (s *Server) audit(who api.Identity, op string, kind api.Kind, object string, revision int64, err error) {
	s.auditEntry(api.AuditEntry{Who: who.Name, Orchestrator: who.Orchestrator, Role: who.Role, Op: op, Kind: kind, Object: object, Revision: revision}, err)
}

func (s *Server) auditEntry(e api.AuditEntry, err error) {
	e.Time, e.Outcome = time.Now(), codeDone
	if err != nil {
		p := s.problem(err)
		e.Outcome, e.Cause = string(p.Code), p.Error()
	}
	s.log.Info("audit", "who", e.Who, "orchestrator", e.Orchestrator, "role", e.Role,
		"op", e.Op, "kind", e.Kind, "object", e.Object, "revision", e.Revision, "outcome", e.Outcome, "error", e.Cause)
	if s.kept == nil {
		return
	}
	if err := s.kept.Add(e); err != nil {
		s.metrics.unaudited.Inc()
		s.log.Error("server: the audit was not kept", "error", err)
	}
}

func (s *Server) registerAudit() {
	s.add(operation{
		id: "audit", method: http.MethodGet, path: "/v1/audit", tag: "audit", roles: admins,
		summary: "Who tried to change what at any controller, the oldest first; with who did not answer",
		query: []parameter{
			{name: "since", doc: "Only entries from this time on, RFC 3339."},
			{name: "until", doc: "Only entries before this time, RFC 3339."},
			{name: "object", doc: "Fully qualified name, with * at the end its beginning, or UUID."},
			{name: "who", doc: "Name of a credential or of an orchestrator."},
			{name: "kind", doc: "Kind of the object."},
			{name: "outcome", doc: "done, or the code of an error."},
			{name: "limit", number: true, doc: "The newest so many, 1 to 10000; 1000 when absent."},
			{name: "local", doc: "true: only at the controller that answers."},
		},
		reply: s.schemaOf(api.Audit{}), handle: s.findAudit,
	})
}

// findAudit merges what all controllers keep. Files of one that cannot be read
// are no reason to withhold those of others.
func (s *Server) findAudit(ctx context.Context, r *request) (any, error) {
	if err := onlyWeft(r.who, "audit"); err != nil {
		return nil, err
	}
	q, err := auditQuery(r)
	if err != nil {
		return nil, err
	}
	var answer api.Audit
	var own api.AuditController
	if s.colleagues != nil {
		own.Name = s.colleagues.Name()
		if !q.Local {
			answer.Items, answer.Controllers = s.colleagues.Audit(ctx, q)
		}
	}
	found, err := s.ownAudit(q)
	if err != nil {
		if answered := func(c api.AuditController) bool { return c.Error == "" }; !slices.ContainsFunc(answer.Controllers, answered) {
			return nil, err
		}
		own.Error = err.Error()
	}
	for _, e := range found {
		e.Controller = own.Name
		answer.Items = append(answer.Items, e)
	}
	answer.Controllers = append([]api.AuditController{own}, answer.Controllers...)
	// Stable: what one controller noted stays in its order.
	slices.SortStableFunc(answer.Items, func(a, b api.AuditEntry) int { return a.Time.Compare(b.Time) })
	answer.Items = append([]api.AuditEntry{}, answer.Items[max(0, len(answer.Items)-q.Limit):]...)
	return answer, nil
}

// ownAudit is what this controller keeps.
func (s *Server) ownAudit(q api.AuditQuery) ([]api.AuditEntry, error) {
	if s.kept == nil {
		return nil, api.Errorf(api.CodeUnavailable, "audit: this controller keeps none")
	}
	found, err := s.kept.Find(q)
	if err != nil {
		return nil, errors.Join(api.Errorf(api.CodeUnavailable, "audit: the files cannot be read: %v", err), err)
	}
	return found, nil
}

// auditQuery reads what is asked for.
func auditQuery(r *request) (api.AuditQuery, error) {
	query := r.URL.Query()
	q := api.AuditQuery{Object: query.Get("object"), Who: query.Get("who"), Outcome: query.Get("outcome"), Limit: auditLimit}
	if text := query.Get("local"); text != "" {
		if text != "true" && text != "false" {
			return q, badQuery("local", "%q is neither true nor false", text)
		}
		q.Local = text == "true"
	}
	for name, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if text := query.Get(name); text != "" {
			t, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return q, badQuery(name, "%q is not a time as in 2026-01-02T15:04:05Z", text)
			}
			*to = t
		}
	}
	if text := query.Get("kind"); text != "" {
		info, ok := api.ParseKind(text)
		if !ok {
			return q, badQuery("kind", "%q is not a kind of object", text)
		}
		q.Kind = info.Kind
	}
	if query.Has("limit") {
		limit := r.number("limit")
		if limit < 1 || limit > auditLimitMax {
			return q, badQuery("limit", "%d is not between 1 and %d", limit, auditLimitMax)
		}
		q.Limit = int(limit)
	}
	return q, nil
}
