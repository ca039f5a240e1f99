// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/api"
)

const (
	// hostOrganization is the subject organization (O) of hosts' certificates.
	hostOrganization = "weft:" + string(api.RoleHost)
	// hostURIOpaque begins the opaque part of the URI weft:host:<uuid>.
	hostURIOpaque = "host:"
)

// peerHost reads which host the other end is from its verified certificate.
func peerHost(ctx context.Context) (api.Ref, error) {
	chain := peerChain(ctx)
	if len(chain) == 0 {
		return api.Ref{}, status.Error(codes.Unauthenticated, "identify host: no verified client certificate; join the host with a token first")
	}
	return certificateHost(chain[0])
}

// peerChain returns the verified certificates of the other end, its own first.
func peerChain(ctx context.Context) []*x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	tls, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(tls.State.VerifiedChains) == 0 {
		return nil
	}
	return tls.State.VerifiedChains[0]
}

// certificateHost reads a host from a certificate: its name from the common
// name, its UUID from the URI weft:host:<uuid>.
func certificateHost(c *x509.Certificate) (api.Ref, error) {
	if !slices.Contains(c.Subject.Organization, hostOrganization) {
		return api.Ref{}, status.Errorf(codes.PermissionDenied, "identify host: the certificate of %q has role %q, want %q; only agents may open a host stream", c.Subject.CommonName, strings.Join(c.Subject.Organization, ","), hostOrganization)
	}
	for _, u := range c.URIs {
		if uuid, ok := strings.CutPrefix(u.Opaque, hostURIOpaque); ok && u.Scheme == "weft" && api.IsUUID(uuid) && c.Subject.CommonName != "" {
			return api.Ref{UUID: uuid, Name: c.Subject.CommonName}, nil
		}
	}
	return api.Ref{}, status.Errorf(codes.PermissionDenied, "identify host: the certificate of %q names no host: want a common name and the URI weft:host:<uuid>; join the host again", c.Subject.CommonName)
}
