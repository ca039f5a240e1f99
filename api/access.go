// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net/netip"
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
}

// TokenRequest asks for a token.
type TokenRequest struct {
	Name         string `json:"name" doc:"What the token is for."`
	Role         Role   `json:"role" enum:"admin,member,reader,join"`
	Orchestrator string `json:"orchestrator,omitempty" doc:"Orchestrator to bind to; the administrators' own when absent. Not for join."`
	TTLSeconds   int64  `json:"ttlSeconds,omitempty" doc:"Seconds until the token expires; 0 means a day for join tokens and a year for others."`
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
	CSR             string       `json:"csr" doc:"PKCS #10 request in PEM for the host's key."`
}

// JoinResponse is the agent's certificate and whom to trust.
type JoinResponse struct {
	Host        Ref      `json:"host"`
	Certificate string   `json:"certificate" doc:"PEM"`
	CA          string   `json:"ca" doc:"PEM"`
	Streams     []string `json:"streams" doc:"host:port of the controllers' stream listeners."`
}
