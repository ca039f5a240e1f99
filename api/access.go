// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
	"strings"
	"time"
)

// Role is what a credential may ask for.
type Role string

// The roles of credentials.
const (
	RoleAdmin  Role = "admin"  // everything an owner may do, and tokens
	RoleMember Role = "member" // write what its orchestrator owns
	RoleReader Role = "reader" // read
	RoleHost   Role = "host"   // an agent's certificate: its own stream only
	RoleJoin   Role = "join"   // a token that lets hosts join, nothing else
)

// Identity is who makes a request, as its credentials say.
type Identity struct {
	Name         string `json:"name" doc:"Name of the credential."`
	Orchestrator string `json:"orchestrator,omitempty" doc:"Orchestrator the credential is bound to: the owner of what it makes."`
	Role         Role   `json:"role" doc:"admin, member, reader, host or join."`
	// Scope narrows a credential to a part of what its orchestrator owns; nil
	// means all of it. It is a pointer so that identities can be compared.
	Scope *Scope `json:"scope,omitempty" doc:"Part of the orchestrator's objects the credential is for; all of them when absent."`
	Host  string `json:"host,omitempty" doc:"For join: the only host the credential lets join, also again."`
}

// Scope is a part of the tree: what lies in these projects, and in this domain.
type Scope struct {
	Domain   Ref   `json:"domain,omitzero" doc:"Domain the credential is for."`
	Projects []Ref `json:"projects,omitempty" doc:"Projects the credential is for."`
}

// String names what a scope is for, for refusals and tables.
func (s *Scope) String() string {
	if s == nil {
		return ""
	}
	var parts []string
	if !s.Domain.IsZero() {
		parts = append(parts, "domain "+s.Domain.String())
	}
	for _, p := range s.Projects {
		parts = append(parts, "project "+p.String())
	}
	return strings.Join(parts, ", ")
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name         string `json:"name" doc:"What the token is for."`
	Role         Role   `json:"role" enum:"admin,member,reader,join"`
	Orchestrator string `json:"orchestrator,omitempty" doc:"Orchestrator to bind to; the administrators' own when absent. Not for join."`
	TTLSeconds   int64  `json:"ttlSeconds,omitempty" doc:"Seconds until the token expires; 0 means a day for join tokens and a year for others."`
	Scope        *Scope `json:"scope,omitempty" doc:"Projects or a domain to narrow the token to; not for join. A narrowed administrator makes tokens within its own scope only."`
	Host         string `json:"host,omitempty" doc:"Only for join: the one host that may join with it, also under a name that exists."`
}

// Token is a credential that was made. Secret is shown this once; the store
// keeps only its hash.
type Token struct {
	ID        string    `json:"id"`
	Identity  Identity  `json:"identity"`
	ExpiresAt time.Time `json:"expiresAt"`
	Secret    string    `json:"secret,omitempty"`
}

// JoinRequest is what an agent sends, with a join token as its bearer token,
// to make its host known and have its key certified.
type JoinRequest struct {
	Name            string       `json:"name" doc:"Name of the host."`
	TunnelAddresses []netip.Addr `json:"tunnelAddresses" doc:"Underlay addresses for tunnel packets."`
	UnderlayMTU     int          `json:"underlayMTU,omitempty" doc:"Largest IP packet of the underlay, bytes."`
	Encapsulations  []string     `json:"encapsulations,omitempty" doc:"Ways to travel that the host can do; vxlan when absent."`
	CSR             string       `json:"csr" doc:"PKCS #10 request in PEM for the host's key."`
}

// JoinResponse is the agent's certificate and whom to trust.
type JoinResponse struct {
	Host        Ref      `json:"host"`
	Certificate string   `json:"certificate" doc:"PEM"`
	CA          string   `json:"ca" doc:"PEM"`
	Streams     []string `json:"streams" doc:"host:port of the controllers' stream listeners."`
}

// Announcement is what an orchestrator's adapter says of the system it stands
// for, once after each start.
type Announcement struct {
	Identity string `json:"identity" doc:"The system's own identity: UID of the kube-system namespace, vCenter's instanceUuid, the configured cloud id."`
}

// Owned counts what an orchestrator owns, and names who stands in the way of
// retiring it.
type Owned struct {
	Revision int64       `json:"revision" doc:"Store revision of the counts."`
	Total    int         `json:"total" doc:"Objects of all kinds."`
	Kinds    []OwnedKind `json:"kinds" doc:"Kinds it owns objects of, in the order in which they can be deleted."`
	// Blockers are objects of others that refer to its objects, or to the
	// orchestrator itself.
	Blockers []string `json:"blockers,omitempty" doc:"Some of the objects of other owners that refer to its objects."`
	Retired  bool     `json:"retired,omitempty" doc:"The orchestrator itself was deleted."`
}

// Retirement confirms that all an orchestrator owns shall be deleted.
type Retirement struct {
	Confirm string `json:"confirm" doc:"The orchestrator's name once more."`
}

// OwnedKind counts the objects of one kind.
type OwnedKind struct {
	Kind  Kind `json:"kind"`
	Count int  `json:"count"`
}

// LoginIssuer is an OpenID Connect issuer whose people may log in, and how.
type LoginIssuer struct {
	Issuer   string   `json:"issuer" doc:"URL of the issuer."`
	ClientID string   `json:"clientID" doc:"Client to log in as."`
	Scopes   []string `json:"scopes" doc:"Scopes to ask for."`
}
