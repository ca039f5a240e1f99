// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store"
)

func (s *Server) reach(ctx context.Context, r *request) (any, error) {
	query := r.URL.Query()
	from, to := query.Get("from"), query.Get("to")
	for field, value := range map[string]string{"from": from, "to": to} {
		if value == "" {
			return nil, api.Errorf(api.CodeInvalid, "reach: from and to are required, as KIND/NAME").About("", "", field)
		}
	}
	snapshot, err := s.seen(ctx, r, 0)
	if err != nil {
		return nil, err
	}
	answer, err := s.views.Reach(ctx, snapshot, from, to)
	return answer, inField(err, "from")
}

// inField names the field of a request for what is wrong with it, where whoever
// found it knows no fields.
func inField(err error, field string) error {
	var e *api.Error
	if errors.As(err, &e) && e.Code == api.CodeInvalid && e.Field == "" && len(e.Problems) == 0 {
		e.Field = field
	}
	return err
}

func (s *Server) check(ctx context.Context, r *request) (any, error) {
	var body struct {
		Assertions []api.Assertion `json:"assertions"`
		Operations []rawOperation  `json:"operations"`
	}
	if err := api.DecodeStrictly(r.body, &body); err != nil {
		return nil, err
	}
	if n := len(body.Assertions); n == 0 || n > api.MaxAssertions {
		return nil, api.Errorf(api.CodeInvalid, "check: %d assertions, want 1 to %d", n, api.MaxAssertions).About("", "", "assertions")
	}
	changes, base, err := s.wouldChange(ctx, r, "check", body.Operations)
	if err != nil {
		return nil, err
	}
	snapshot, err := s.seen(ctx, r, 0)
	if err != nil {
		return nil, err
	}
	if changes == nil {
		base = snapshot.Revision()
	}
	answer, err := s.views.Check(ctx, snapshot, body.Assertions, changes)
	answer.Base = base
	return answer, inField(err, "assertions")
}

// wouldChange works operations out as a transaction would, and writes nothing. It
// says at which revision it looked.
func (s *Server) wouldChange(ctx context.Context, r *request, verb string, raw []rawOperation) (*api.Changes, int64, error) {
	if len(raw) == 0 {
		return nil, 0, nil
	}
	if n := len(raw); n > store.MaxOperations {
		return nil, 0, api.Errorf(api.CodeInvalid, "%s: %d operations, want at most %d", verb, n, store.MaxOperations).About("", "", "operations")
	}
	ops, err := decodeOperations(raw)
	if err != nil {
		return nil, 0, err
	}
	result, err := s.commit(ctx, r.who, ops, store.CommitOptions{DryRun: true})
	if err != nil {
		return nil, 0, err
	}
	changes := &api.Changes{}
	for i, o := range result.Objects {
		if ops[i].Op == api.OpDelete {
			changes.Deleted = append(changes.Deleted, api.Target{Kind: o.Head().Kind, UUID: o.Head().Meta.UUID})
		} else {
			changes.Put = append(changes.Put, o)
		}
	}
	return changes, result.Revision, nil
}

func (s *Server) judge(ctx context.Context, r *request) (any, error) {
	var body struct {
		Conversations []api.Conversation `json:"conversations"`
		Operations    []rawOperation     `json:"operations"`
	}
	if err := api.DecodeStrictly(r.body, &body); err != nil {
		return nil, err
	}
	if n := len(body.Conversations); n == 0 || n > api.MaxConversations {
		return nil, api.Errorf(api.CodeInvalid, "judge: %d conversations, want 1 to %d", n, api.MaxConversations).About("", "", "conversations")
	}
	if len(body.Operations) == 0 {
		return nil, api.Errorf(api.CodeInvalid, "judge: no operations: nothing would be judged otherwise").About("", "", "operations")
	}
	changes, _, err := s.wouldChange(ctx, r, "judge", body.Operations)
	if err != nil {
		return nil, err
	}
	snapshot, err := s.seen(ctx, r, 0)
	if err != nil {
		return nil, err
	}
	answer, err := s.views.Judge(ctx, snapshot, body.Conversations, changes)
	return answer, inField(err, "conversations")
}
