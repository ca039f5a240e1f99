// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/server/pki"
	"github.com/weft-network/weft/store"
)

// joinAttempts is how often a join is tried again when the host's object
// changes at the same moment.
const joinAttempts = 8

func (s *Server) createToken(ctx context.Context, r *request) (any, error) {
	var wanted api.TokenRequest
	if err := api.DecodeStrictly(r.body, &wanted); err != nil {
		return nil, err
	}
	token, err := s.store.CreateToken(ctx, r.who, wanted)
	s.audit(r.who, api.OpCreate, "token", wanted.Name+" "+token.ID, 0, err)
	if err != nil {
		return nil, err
	}
	token.Secret = strings.Join([]string{tokenVersion, token.ID, token.Secret, s.ca.Hash()}, ".")
	return token, nil
}

func (s *Server) listTokens(ctx context.Context, r *request) (any, error) {
	tokens, err := s.store.ListTokens(ctx, r.who)
	if err != nil {
		return nil, err
	}
	return struct {
		Items []api.Token `json:"items"`
	}{tokens}, nil
}

func (s *Server) deleteToken(ctx context.Context, r *request) (any, error) {
	err := s.store.DeleteToken(ctx, r.who, r.PathValue("id"))
	s.audit(r.who, api.OpDelete, "token", r.PathValue("id"), 0, err)
	return nil, err
}

// join makes a host known, or known again under the same UUID, and certifies
// its key.
func (s *Server) join(ctx context.Context, r *request) (any, error) {
	var wanted api.JoinRequest
	if err := api.DecodeStrictly(r.body, &wanted); err != nil {
		return nil, err
	}
	if wanted.Name == "" {
		return nil, api.Errorf(api.CodeInvalid, "join: the host's name is required").About(api.KindHost, "", "name")
	}
	if _, err := pki.ParseRequest(wanted.CSR); err != nil {
		return nil, err
	}
	host, err := s.joined(ctx, r.who, wanted)
	if err != nil {
		s.audit(r.who, "join", api.KindHost, wanted.Name, 0, err)
		return nil, err
	}
	made, err := s.keeper.CertifyHost(ctx, wanted.CSR, api.Ref{UUID: host.Meta.UUID, Name: host.Meta.Name})
	s.audit(r.who, "certify", api.KindHost, host.Meta.Name, host.Meta.Revision, err)
	if err != nil {
		return nil, err
	}
	return api.JoinResponse{
		Host: api.RefTo(host), Certificate: made.Certificate, CA: string(made.Bundle), Streams: s.streams,
	}, nil
}

// joined creates or updates the host's object. A join token allows just this,
// on behalf of the administrators, who own all hosts. A token for any host
// makes new ones only: whoever may join again under a name that exists is that
// host from then on, so it takes a token that was made for that host.
func (s *Server) joined(ctx context.Context, who api.Identity, wanted api.JoinRequest) (*api.Host, error) {
	if who.Host != "" && who.Host != wanted.Name {
		return nil, api.Errorf(api.CodeForbidden, "join: this token is for host %s, not for %s", who.Host, wanted.Name).About(api.KindHost, wanted.Name, "name")
	}
	by := api.Identity{Name: who.Name, Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	for attempt := 1; ; attempt++ {
		snapshot, err := s.store.Snapshot(ctx, 0)
		if err != nil {
			return nil, err
		}
		op := api.Operation{Op: api.OpCreate}
		host := &api.Host{Header: api.Header{Kind: api.KindHost, Meta: api.Meta{Name: wanted.Name}}}
		if old := snapshot.Lookup(api.KindHost, api.Ref{Name: wanted.Name}); old != nil {
			if who.Host == "" {
				return nil, api.Errorf(api.CodeForbidden, "join: host %s exists; joining again would take its place: ask an administrator for a token for it (weft token create NAME --role join --host %s), or to delete the host", wanted.Name, wanted.Name).About(api.KindHost, wanted.Name, "name")
			}
			op.Op, host = api.OpUpdate, api.Clone(old.(*api.Host))
		}
		host.Spec.TunnelAddresses, host.Spec.UnderlayMTU = wanted.TunnelAddresses, wanted.UnderlayMTU
		host.Spec.Encapsulations = wanted.Encapsulations
		op.Object = host
		result, err := s.commit(ctx, by, []api.Operation{op}, store.CommitOptions{})
		var e *api.Error
		raced := errors.As(err, &e) && (e.Code == api.CodePrecondition || e.Code == api.CodeConflict && e.Field == "meta.name")
		if raced && attempt < joinAttempts {
			continue
		}
		if err != nil {
			return nil, err
		}
		return result.Objects[0].(*api.Host), nil
	}
}
