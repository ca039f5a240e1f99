// SPDX-License-Identifier: Apache-2.0

package api

import "time"

// The phases of certificate authorities.
const (
	// AuthoritySteady: there is one.
	AuthoritySteady = "steady"
	// AuthorityIntroduced: a second one is accepted by some of the controllers.
	AuthorityIntroduced = "introduced"
	// AuthorityReplacing: the second one is accepted everywhere, and hosts and
	// clients get their certificates from it.
	AuthorityReplacing = "replacing"
)

// AuthorityState is how certificate authorities are, and who holds on to the
// one that is being replaced.
type AuthorityState struct {
	Phase       string                `json:"phase" doc:"steady, introduced or replacing."`
	Since       time.Time             `json:"since,omitzero" doc:"When it became so."`
	Authorities []AuthorityInfo       `json:"authorities" doc:"All that are accepted; the first certifies the controllers."`
	Controllers []AuthorityController `json:"controllers" doc:"Running controllers."`
	Pending     []CertificateHolder   `json:"pending,omitempty" doc:"Who has not renewed; weft authority finish would lock them out."`
}

// AuthorityInfo is one of them.
type AuthorityInfo struct {
	Hash        string    `json:"hash" doc:"SHA-256 of the certificate, as tokens carry it."`
	NotAfter    time.Time `json:"notAfter" doc:"When it expires."`
	Serving     bool      `json:"serving" doc:"Certifies the controllers; tokens name it."`
	Issuing     bool      `json:"issuing" doc:"Certifies hosts and clients."`
	Certificate string    `json:"certificate" doc:"PEM"`
}

// AuthorityController is a running controller.
type AuthorityController struct {
	Name    string `json:"name"`
	Current bool   `json:"current" doc:"Accepts all the authorities that it shall."`
}

// The kinds of holders of certificates.
const (
	HolderHost       = "host"
	HolderClient     = "client"
	HolderController = "controller"
)

// CertificateHolder is who has a certificate of an authority that is to go.
type CertificateHolder struct {
	Kind         string    `json:"kind" doc:"host, client or controller."`
	Name         string    `json:"name"`
	UUID         string    `json:"uuid,omitempty" doc:"Of a host."`
	Orchestrator string    `json:"orchestrator,omitempty" doc:"Of a client."`
	Serial       string    `json:"serial,omitempty" doc:"Serial number of the certificate, hexadecimal; absent where it is not known."`
	Authority    string    `json:"authority,omitempty" doc:"Hash of its authority."`
	NotAfter     time.Time `json:"notAfter,omitzero" doc:"When the certificate expires."`
	Noted        time.Time `json:"noted,omitzero" doc:"When it was made, or used since the rotation began."`
}

// AuthorityFinish ends a rotation.
type AuthorityFinish struct {
	Force bool `json:"force,omitempty" doc:"Also lock out who has not renewed."`
}

// CertificateRequest asks for a new certificate for the identity that asks.
type CertificateRequest struct {
	CSR string `json:"csr" doc:"PKCS #10 request in PEM for the new key; what it says of names is ignored."`
}

// CertificateReply is the new certificate and whom to trust.
type CertificateReply struct {
	Certificate string    `json:"certificate" doc:"PEM"`
	NotAfter    time.Time `json:"notAfter" doc:"When it expires."`
	CA          string    `json:"ca" doc:"All authorities that are accepted, in PEM."`
}
