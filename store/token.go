// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
)

const (
	// joinTokenTTL and tokenTTL are the lives of tokens whose maker says
	// nothing: a join token is for one roll-out, others for a human memory.
	joinTokenTTL = 24 * time.Hour
	tokenTTL     = 365 * 24 * time.Hour
	// tokenTTLMax keeps the expiry within what RFC 3339 can write.
	tokenTTLMax = 100 * 365 * 24 * time.Hour
	// tokensMax bounds how many tokens there are; every controller keeps all.
	tokensMax = 100_000
	// tokenGrace is how long an expired token stays, refused: a clock that is
	// ahead for a while must not delete what is valid when it is right again.
	tokenGrace = 7 * 24 * time.Hour
	// tokensSweep is how many expired tokens one creation removes.
	tokensSweep = 100
	secretBytes = 32
)

// token is a bearer token as stored: never the secret, only its hash. The
// secret has 256 random bits, so a fast hash is enough.
type token struct {
	ID         string       `json:"id"`
	Identity   api.Identity `json:"identity"`
	ExpiresAt  time.Time    `json:"expiresAt"`
	SecretHash string       `json:"secretHash"` // SHA-256 in hex
	// Orchestrator is the UUID of the identity's orchestrator: another of the
	// same name, made later, does not revive the token.
	Orchestrator string `json:"orchestrator,omitempty"`
}

func decodeToken(data []byte) (*token, error) {
	var t token
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("decode stored token: %w", err)
	}
	return &t, nil
}

func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// CreateToken makes a token. Its Secret is returned this once and not kept.
func (s *Store) CreateToken(ctx context.Context, by api.Identity, request api.TokenRequest) (api.Token, error) {
	snapshot, err := s.linearizable(ctx, 0)
	if err != nil {
		return api.Token{}, err
	}
	identity, err := tokenIdentity(by, request, snapshot)
	if err != nil {
		return api.Token{}, err
	}
	ttl := time.Duration(min(request.TTLSeconds, int64(tokenTTLMax/time.Second))) * time.Second
	switch {
	case ttl == 0 && request.Role == api.RoleJoin:
		ttl = joinTokenTTL
	case ttl == 0:
		ttl = tokenTTL
	}
	raw := make([]byte, secretBytes)
	rand.Read(raw) // never fails, as crypto/rand says
	secret := base64.RawURLEncoding.EncodeToString(raw)
	t := token{ID: uuid.NewString(), Identity: identity, ExpiresAt: s.timestamp().Add(ttl), SecretHash: hashSecret(secret)}

	var compare []clientv3.Cmp
	for _, i := range scopeTargets(identity.Scope) {
		compare = append(compare, present(i.objectKey()))
	}
	if o := snapshot.byName(api.KindOrchestrator, identity.Orchestrator); o != nil {
		t.Orchestrator = o.id.uuid()
		compare = append(compare, present(o.id.objectKey()))
	}
	ops := append([]clientv3.Op{clientv3.OpPut(prefixToken+t.ID, string(mustJSON(t)))}, s.expired(snapshot)...)
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reply, err := s.client.Txn(ctx).If(compare...).Then(ops...).Commit()
	if err != nil {
		return api.Token{}, failed(err, "create token %q", request.Name)
	}
	if !reply.Succeeded {
		return api.Token{}, api.Errorf(api.CodeConflict, "create token %q: what it is for was deleted meanwhile", request.Name)
	}
	return api.Token{ID: t.ID, Identity: t.Identity, ExpiresAt: t.ExpiresAt, Secret: secret}, nil
}

// tokenIdentity checks a request and says whom its token will stand for.
func tokenIdentity(by api.Identity, request api.TokenRequest, snapshot *Snapshot) (api.Identity, error) {
	if err := mayHandleTokens(by, "create token"); err != nil {
		return api.Identity{}, err
	}
	var p api.Problems
	if request.Name == "" || len(request.Name) > api.MaxNameBytes {
		p.Addf("name", "is required, at most %d bytes", api.MaxNameBytes)
	}
	if request.TTLSeconds < 0 {
		p.Addf("ttlSeconds", "%d is negative", request.TTLSeconds)
	}
	identity := api.Identity{Name: request.Name, Role: request.Role, Orchestrator: request.Orchestrator}
	switch request.Role {
	case api.RoleAdmin, api.RoleMember, api.RoleReader:
		if identity.Orchestrator == "" {
			identity.Orchestrator = by.Orchestrator
		}
		if snapshot.byName(api.KindOrchestrator, identity.Orchestrator) == nil {
			p.Addf("orchestrator", "there is no orchestrator %q: create it first", identity.Orchestrator)
		}
		if request.Host != "" {
			p.Addf("host", "is for role join only")
		}
		identity.Scope = resolveScope(Seen(snapshot, by), request.Scope, &p)
	case api.RoleJoin:
		if identity.Orchestrator != "" || request.Scope != nil {
			p.Addf("orchestrator", "a join token is bound to none, and to no project")
		}
		if len(request.Host) > api.MaxNameBytes {
			p.Addf("host", "may be %d bytes long", api.MaxNameBytes)
		}
		identity.Host = request.Host
	default:
		p.Addf("role", "%q is not one of admin, member, reader, join", request.Role)
	}
	if count := snapshot.tokens(); len(count) >= tokensMax {
		p.Addf("name", "there are %d tokens already: delete some", len(count))
	}
	if len(p) > 0 {
		return api.Identity{}, &api.Error{Code: api.CodeInvalid, Message: "create token: the request is wrong", Problems: p}
	}
	if identity.Orchestrator != by.Orchestrator && (by.Orchestrator != api.AdministratorsName || by.Scope != nil) {
		return api.Identity{}, api.Errorf(api.CodeForbidden, "create token %q: an administrator of %s makes tokens of %s only", request.Name, by.Orchestrator, by.Orchestrator)
	}
	if !snapshot.covers(by.Scope, identity) {
		return api.Identity{}, api.Errorf(api.CodeForbidden, "create token %q: these credentials are for %s and make tokens for that, or a part of it, only: name it as the scope", request.Name, by.Scope)
	}
	return identity, nil
}

// scopeMax bounds the projects of one token; who needs more needs a domain.
const scopeMax = 64

// resolveScope completes the references of a scope with what the caller sees.
func resolveScope(s api.Snapshot, wanted *api.Scope, p *api.Problems) *api.Scope {
	if wanted == nil {
		return nil
	}
	if n := len(wanted.Projects); n > scopeMax || n == 0 && wanted.Domain.IsZero() {
		p.Addf("scope", "want a domain, or 1 to %d projects", scopeMax)
	}
	scope := &api.Scope{}
	if !wanted.Domain.IsZero() {
		scope.Domain = resolveRef(s, api.KindDomain, wanted.Domain, "scope.domain", p)
	}
	for i, ref := range wanted.Projects {
		scope.Projects = append(scope.Projects, resolveRef(s, api.KindProject, ref, fmt.Sprintf("scope.projects[%d]", i), p))
	}
	return scope
}

func resolveRef(s api.Snapshot, kind api.Kind, ref api.Ref, field string, p *api.Problems) api.Ref {
	o := s.Lookup(kind, ref)
	if o == nil {
		p.Addf(field, "there is no %s %s", kind, ref)
		return ref
	}
	return api.RefTo(o)
}

// scopeTargets lists what a scope names.
func scopeTargets(s *api.Scope) []id {
	var targets []id
	if s == nil {
		return nil
	}
	if !s.Domain.IsZero() {
		targets = append(targets, idOf(api.KindDomain, s.Domain.UUID))
	}
	for _, p := range s.Projects {
		targets = append(targets, idOf(api.KindProject, p.UUID))
	}
	return targets
}

// covers tells whether a token is for no more than a scope is.
func (s *Snapshot) covers(scope *api.Scope, token api.Identity) bool {
	if scope == nil {
		return true
	}
	if token.Scope == nil {
		return false
	}
	allowed := map[id]bool{}
	for _, i := range scopeTargets(scope) {
		allowed[i] = true
	}
	for _, i := range scopeTargets(token.Scope) {
		r := s.record(i)
		inDomain := r != nil && i.kind() == api.KindProject && allowed[idOf(api.KindDomain, r.object.Head().Meta.Parent.UUID)]
		if !allowed[i] && !inDomain {
			return false
		}
	}
	return true
}

// mayManage tells whether a token is the caller's to list and to delete.
func (s *Snapshot) mayManage(by api.Identity, t *token) bool {
	if by.Orchestrator != t.Identity.Orchestrator && (by.Orchestrator != api.AdministratorsName || by.Scope != nil) {
		return false
	}
	return s.covers(by.Scope, t.Identity)
}

func mayHandleTokens(by api.Identity, verb string) error {
	if by.Role != api.RoleAdmin {
		return api.Errorf(api.CodeForbidden, "%s: %s has role %s, and only admin may do this", verb, by.Name, by.Role)
	}
	return nil
}

// expired lists deletions of tokens that nobody has been able to use for long.
func (s *Store) expired(snapshot *Snapshot) []clientv3.Op {
	var ops []clientv3.Op
	for _, t := range snapshot.tokens() {
		if len(ops) < tokensSweep && !s.now().Before(t.ExpiresAt.Add(tokenGrace)) {
			ops = append(ops, clientv3.OpDelete(prefixToken+t.ID))
		}
	}
	return ops
}

// tokens returns all tokens, ordered by id.
func (s *Snapshot) tokens() []*token {
	var all []*token
	s.trees.tokens.Ascend(func(t *token) bool {
		all = append(all, t)
		return true
	})
	return all
}

// token returns one, or nil.
func (s *Snapshot) token(tokenID string) *token {
	t, _ := s.trees.tokens.Get(&token{ID: tokenID})
	return t
}

// ListTokens returns the tokens whose orchestrator the caller administers,
// without their secrets.
func (s *Store) ListTokens(ctx context.Context, by api.Identity) ([]api.Token, error) {
	if err := mayHandleTokens(by, "list tokens"); err != nil {
		return nil, err
	}
	snapshot, err := s.linearizable(ctx, 0)
	if err != nil {
		return nil, err
	}
	list := []api.Token{}
	for _, t := range snapshot.tokens() {
		if snapshot.mayManage(by, t) {
			list = append(list, api.Token{ID: t.ID, Identity: t.Identity, ExpiresAt: t.ExpiresAt})
		}
	}
	return list, nil
}

// DeleteToken makes a token void.
func (s *Store) DeleteToken(ctx context.Context, by api.Identity, tokenID string) error {
	if err := mayHandleTokens(by, "delete token"); err != nil {
		return err
	}
	snapshot, err := s.linearizable(ctx, 0)
	if err != nil {
		return err
	}
	t := snapshot.token(tokenID)
	if t == nil || !snapshot.mayManage(by, t) {
		return api.Errorf(api.CodeNotFound, "delete token %s: there is no such token", tokenID)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reply, err := s.client.Delete(ctx, prefixToken+tokenID)
	if err != nil {
		return failed(err, "delete token %s", tokenID)
	}
	// From here on this controller refuses it too.
	_, err = s.at(ctx, reply.Header.Revision)
	return err
}

// Authenticate returns whom a token stands for.
func (s *Store) Authenticate(ctx context.Context, tokenID, secret string) (api.Identity, error) {
	refused := api.Errorf(api.CodeUnauthenticated, "the token is unknown, expired or wrong: ask an administrator for a new one")
	if !api.IsUUID(tokenID) {
		return api.Identity{}, refused
	}
	snapshot := s.latest()
	t := snapshot.token(tokenID)
	if t == nil { // it may have been made a moment ago through another controller
		var err error
		if snapshot, err = s.linearizable(ctx, 0); err != nil {
			return api.Identity{}, err
		}
		if t = snapshot.token(tokenID); t == nil {
			return api.Identity{}, refused
		}
	}
	// Hashes are compared in constant time, so timing tells nothing of them.
	same := subtle.ConstantTimeCompare([]byte(hashSecret(secret)), []byte(t.SecretHash)) == 1
	if !same || !s.now().Before(t.ExpiresAt) {
		return api.Identity{}, refused
	}
	if t.Orchestrator != "" && snapshot.record(idOf(api.KindOrchestrator, t.Orchestrator)) == nil {
		return api.Identity{}, refused
	}
	return t.Identity, nil
}

// timestamp is now as objects store it: UTC, in milliseconds.
func (s *Store) timestamp() time.Time { return s.now().UTC().Truncate(time.Millisecond) }
