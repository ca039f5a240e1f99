// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/server/oidc"
	"github.com/weft-network/weft/server/pki"
)

// Who may use an operation. What they may do to which object is the store's.
var (
	anybody []api.Role // also without credentials
	readers = []api.Role{api.RoleAdmin, api.RoleMember, api.RoleReader}
	writers = []api.Role{api.RoleAdmin, api.RoleMember}
	admins  = []api.Role{api.RoleAdmin}
	joiners = []api.Role{api.RoleJoin}
)

// authenticate returns whose credentials a request carries. A bearer token
// counts before a certificate: whoever sends one means it.
func (s *Server) authenticate(r *http.Request) (api.Identity, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, text, ok := strings.Cut(header, " ")
		if !ok || !strings.EqualFold(scheme, "Bearer") {
			return api.Identity{}, api.Errorf(api.CodeUnauthenticated, "the Authorization header is not of the form: Bearer <token>")
		}
		return s.bearer(r, strings.TrimSpace(text))
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return api.Identity{}, api.Errorf(api.CodeUnauthenticated, "no credentials: send a client certificate or a bearer token")
	}
	return s.holder(r)
}

// holder returns whose client certificate a connection was made with. A
// connection outlives much, so it is looked at anew with each request.
func (s *Server) holder(r *http.Request) (api.Identity, error) {
	refuse := func(format string, args ...any) (api.Identity, error) {
		return api.Identity{}, api.Errorf(api.CodeUnauthenticated, format, args...)
	}
	cert := r.TLS.PeerCertificates[0]
	by, err := s.ca.Verify(r.TLS.PeerCertificates)
	if err != nil {
		return refuse("the client certificate of %q is not good: %v: ask an administrator for a new credential", cert.Subject.CommonName, err)
	}
	who, ok := pki.Identity(cert)
	if !ok {
		return refuse("the client certificate %q names no role of Weft", cert.Subject)
	}
	if who.Role != api.RoleHost && who.Orchestrator != api.AdministratorsName {
		o := s.store.Latest().Lookup(api.KindOrchestrator, api.Ref{Name: who.Orchestrator})
		made := pki.Orchestrator(cert)
		switch {
		case o == nil:
			return refuse("the client certificate of %s is of orchestrator %s, which was retired", who.Name, who.Orchestrator)
		case made != "" && made != o.Head().Meta.UUID,
			made == "" && pki.Made(cert).Before(o.Head().Meta.CreatedAt.Truncate(time.Second)):
			return refuse("the client certificate of %s is of an orchestrator %s that was retired; the present one only has its name", who.Name, who.Orchestrator)
		}
	}
	if s.keeper != nil {
		s.keeper.Saw(r.Context(), who, cert, by)
	}
	return who, nil
}

// bearer checks a token: weft1.<id>.<secret>.<hash of the CA>. The hash is for
// the client; the server has no use for it.
func (s *Server) bearer(r *http.Request, text string) (api.Identity, error) {
	if s.people != nil && oidc.IsToken(text) {
		return s.person(r, text)
	}
	parts := strings.Split(text, ".")
	if len(parts) != 4 || parts[0] != tokenVersion {
		return api.Identity{}, api.Errorf(api.CodeUnauthenticated, "the bearer token is not of the form %s.<id>.<secret>.<hash>", tokenVersion)
	}
	return s.store.Authenticate(r.Context(), parts[1], parts[2])
}

// person checks an ID token, and completes what the mappings say with what there
// is: a role in something that does not exist is none.
func (s *Server) person(r *http.Request, text string) (api.Identity, error) {
	who, err := s.people.Authenticate(r.Context(), text)
	if err != nil {
		return who, err
	}
	snapshot := s.store.Latest()
	missing := func(kind api.Kind, name string) (api.Identity, error) {
		return api.Identity{}, api.Errorf(api.CodeForbidden, "%s has a role for %s %s, which does not exist: ask an administrator of Weft", who.Name, kind, name)
	}
	if snapshot.Lookup(api.KindOrchestrator, api.Ref{Name: who.Orchestrator}) == nil {
		return missing(api.KindOrchestrator, who.Orchestrator)
	}
	if who.Scope == nil {
		return who, nil
	}
	scope := &api.Scope{}
	if d := who.Scope.Domain; !d.IsZero() {
		o := snapshot.Lookup(api.KindDomain, d)
		if o == nil {
			return missing(api.KindDomain, d.Name)
		}
		scope.Domain = api.RefTo(o)
	}
	for _, p := range who.Scope.Projects {
		o := snapshot.Lookup(api.KindProject, p)
		if o == nil {
			return missing(api.KindProject, p.Name)
		}
		scope.Projects = append(scope.Projects, api.RefTo(o))
	}
	who.Scope = scope
	return who, nil
}

// onlyWeft refuses what shows the whole of Weft to all but its own credentials.
func onlyWeft(who api.Identity, what string) error {
	if who.Orchestrator == api.AdministratorsName && who.Scope == nil {
		return nil
	}
	return api.Errorf(api.CodeForbidden, "%s: it shows what belongs to others too, so only Weft's own credentials may", what)
}

// tokenVersion begins every token, so that people and scanners recognise one.
const tokenVersion = "weft1"

// authorize checks that a role may use an operation.
func authorize(who api.Identity, roles []api.Role) error {
	if slices.Contains(roles, who.Role) {
		return nil
	}
	return api.Errorf(api.CodeForbidden, "%s has role %s; this needs one of %v", who.Name, who.Role, roles)
}
