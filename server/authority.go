// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net/http"

	"github.com/weft-network/weft/api"
)

func (s *Server) registerAuthority() {
	state := s.schemaOf(api.AuthorityState{})
	s.add(operation{
		id: "authority", method: http.MethodGet, path: "/v1/authority", tag: "certificates", roles: admins,
		summary: "How the certificate authorities are, and while one is replaced who has not renewed", reply: state, handle: s.showAuthority,
	})
	s.add(operation{
		id: "authority-certificates", method: http.MethodGet, path: "/v1/authority/certificates", tag: "certificates", roles: anybody,
		summary: "Certificates of all authorities that are accepted, in PEM",
		reply:   object(map[string]*schemaT{"ca": {Type: "string", Description: "PEM"}}, "ca"),
		handle: func(context.Context, *request) (any, error) {
			return map[string]string{"ca": string(s.ca.Bundle())}, nil
		},
	})
	s.add(operation{
		id: "rotate-authority", method: http.MethodPost, path: "/v1/authority/rotate", tag: "certificates", roles: admins,
		summary: "Introduce a new certificate authority beside the present one", reply: state, handle: s.rotateAuthority,
	})
	s.add(operation{
		id: "finish-authority", method: http.MethodPost, path: "/v1/authority/finish", tag: "certificates", roles: admins,
		summary: "Drop the certificate authority that was replaced", body: s.schemaOf(api.AuthorityFinish{}), reply: state, handle: s.finishAuthority,
	})
	s.add(operation{
		id: "renew-certificate", method: http.MethodPost, path: "/v1/certificates", tag: "certificates", roles: readers,
		summary: "Certify a new key for the identity of the client certificate that asks",
		body:    s.schemaOf(api.CertificateRequest{}), reply: s.schemaOf(api.CertificateReply{}), handle: s.renewCertificate,
	})
}

func (s *Server) showAuthority(ctx context.Context, r *request) (any, error) {
	if err := onlyWeft(r.who, "show the certificate authorities"); err != nil {
		return nil, err
	}
	return s.keeper.Show(ctx)
}

func (s *Server) rotateAuthority(ctx context.Context, r *request) (any, error) {
	if err := onlyWeft(r.who, "rotate the certificate authority"); err != nil {
		return nil, err
	}
	state, err := s.keeper.Rotate(ctx)
	s.audit(r.who, "rotate", "authority", s.ca.Hash(), 0, err)
	return state, err
}

func (s *Server) finishAuthority(ctx context.Context, r *request) (any, error) {
	if err := onlyWeft(r.who, "finish the rotation of the certificate authority"); err != nil {
		return nil, err
	}
	var wanted api.AuthorityFinish
	if err := api.DecodeStrictly(r.body, &wanted); err != nil {
		return nil, err
	}
	state, err := s.keeper.Finish(ctx, wanted.Force)
	s.audit(r.who, "finish-rotation", "authority", s.ca.Hash(), 0, err)
	return state, err
}

// renewCertificate gives who shows a certificate another one of the same
// identity. A token cannot be turned into a certificate: it would outlive the
// token.
func (s *Server) renewCertificate(ctx context.Context, r *request) (any, error) {
	var wanted api.CertificateRequest
	if err := api.DecodeStrictly(r.body, &wanted); err != nil {
		return nil, err
	}
	if r.Header.Get("Authorization") != "" || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, api.Errorf(api.CodeForbidden, "renew certificate of %s: only who shows a client certificate gets another one; a token is replaced by an administrator (weft token create)", r.who.Name)
	}
	uuid := ""
	if o := s.store.Latest().Lookup(api.KindOrchestrator, api.Ref{Name: r.who.Orchestrator}); o != nil {
		uuid = o.Head().Meta.UUID
	}
	made, err := s.keeper.CertifyClient(ctx, wanted.CSR, r.who, uuid, r.TLS.PeerCertificates[0])
	s.audit(r.who, "certify", "certificate", r.who.Name, 0, err)
	if err != nil {
		return nil, err
	}
	return api.CertificateReply{Certificate: made.Certificate, NotAfter: made.NotAfter, CA: string(made.Bundle)}, nil
}
