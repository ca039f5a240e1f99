// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store"
)

func (s *Server) reach(ctx context.Context, r *request) (any, error) {
	query := r.URL.Query()
	from, to := query.Get("from"), query.Get("to")
	if from == "" || to == "" {
		return nil, api.Errorf(api.CodeInvalid, "reach: from and to are required, as KIND/NAME")
	}
	snapshot, err := s.seen(ctx, r, 0)
	if err != nil {
		return nil, err
	}
	return s.views.Reach(ctx, snapshot, from, to)
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
	changes, err := s.wouldChange(ctx, r, body.Operations)
	if err != nil {
		return nil, err
	}
	snapshot, err := s.seen(ctx, r, 0)
	if err != nil {
		return nil, err
	}
	return s.views.Check(ctx, snapshot, body.Assertions, changes)
}

// wouldChange works operations out as a transaction would, and writes nothing.
func (s *Server) wouldChange(ctx context.Context, r *request, raw []rawOperation) (*api.Changes, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if n := len(raw); n > store.MaxOperations {
		return nil, api.Errorf(api.CodeInvalid, "check: %d operations, want at most %d", n, store.MaxOperations).About("", "", "operations")
	}
	ops, err := decodeOperations(raw)
	if err != nil {
		return nil, err
	}
	result, err := s.commit(ctx, r.who, ops, true)
	if err != nil {
		return nil, err
	}
	changes := &api.Changes{}
	for i, o := range result.Objects {
		if ops[i].Op == api.OpDelete {
			changes.Deleted = append(changes.Deleted, api.Target{Kind: o.Head().Kind, UUID: o.Head().Meta.UUID})
		} else {
			changes.Put = append(changes.Put, o)
		}
	}
	return changes, nil
}
