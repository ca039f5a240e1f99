// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"crypto/x509"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// Authority certifies hosts.
type Authority interface {
	// Trusted returns the authorities that hosts shall trust, in PEM, and the
	// hash of the one that certifies hosts.
	Trusted() (bundle []byte, issuing string)
	// Certify certifies the key of a PKCS #10 request in PEM for a host, and
	// notes that the host has the certificate, which it returns in PEM.
	Certify(ctx context.Context, csr string, host api.Ref) (string, error)
	// Accepts tells whether a chain of certificates is still good.
	Accepts(chain []*x509.Certificate) bool
}

// Certify serves a host that renews its certificate, or asks whom to trust. It
// may do so as long as it exists and its present certificate is good.
func (s *Server) Certify(ctx context.Context, q *hoststream.CertifyRequest) (*hoststream.CertifyReply, error) {
	host, err := peerHost(ctx)
	if err != nil {
		return nil, err
	}
	if s.options.Authority == nil {
		return nil, status.Error(codes.Unimplemented, "this controller certifies no hosts")
	}
	if !s.options.Authority.Accepts(peerChain(ctx)) {
		return nil, status.Errorf(codes.Unauthenticated, "certify host %s: its present certificate has expired or its authority was replaced; join it again", host)
	}
	if err := s.waitPlan(ctx, host, nil); err != nil { // says no to a host that was deleted
		return nil, err
	}
	bundle, issuing := s.options.Authority.Trusted()
	reply := &hoststream.CertifyReply{Authorities: string(bundle), Issuing: issuing}
	if q.Csr == "" {
		return reply, nil
	}
	if reply.Certificate, err = s.options.Authority.Certify(ctx, q.Csr, host); err != nil {
		var e *api.Error
		if errors.As(err, &e) && e.Code == api.CodeInvalid {
			return nil, status.Errorf(codes.InvalidArgument, "certify host %s: %v", host, err)
		}
		return nil, status.Errorf(codes.Unavailable, "certify host %s: %v", host, err)
	}
	s.options.Log.Info("host has a new certificate", "host", host)
	return reply, nil
}

// Recheck ends the sessions of hosts whose certificates are good no more: they
// have expired, or their authority is not accepted. It is called when the
// authorities have changed, and now and then.
func (s *Server) Recheck() {
	if s.options.Authority == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range []map[string]*session{s.sessions, s.standbys} {
		for _, n := range all {
			if !s.options.Authority.Accepts(n.chain) {
				n.end(status.Errorf(codes.Unauthenticated, "the certificate of host %s is good no more", n.host))
			}
		}
	}
}
