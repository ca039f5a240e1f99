// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
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
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return api.Identity{}, api.Errorf(api.CodeUnauthenticated, "no credentials: send a client certificate or a bearer token")
	}
	cert := r.TLS.VerifiedChains[0][0]
	who, ok := pki.Identity(cert)
	if !ok {
		return api.Identity{}, api.Errorf(api.CodeUnauthenticated, "the client certificate %q names no role of Weft", cert.Subject)
	}
	return who, nil
}

// bearer checks a token: weft1.<id>.<secret>.<hash of the CA>. The hash is for
// the client; the server has no use for it.
func (s *Server) bearer(r *http.Request, text string) (api.Identity, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 4 || parts[0] != tokenVersion {
		return api.Identity{}, api.Errorf(api.CodeUnauthenticated, "the bearer token is not of the form %s.<id>.<secret>.<hash>", tokenVersion)
	}
	return s.store.Authenticate(r.Context(), parts[1], parts[2])
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
