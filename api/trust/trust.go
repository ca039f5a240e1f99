// SPDX-License-Identifier: Apache-2.0

// Package trust decides whether a controller is one of ours. A client knows the
// certificate authority by its certificate, or, from a token, by its hash; and
// it goes on trusting when that authority has named a successor.
package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxChain bounds how many certificates a server may show: its own, its
// authority's, and a few endorsements with who made them.
const maxChain = 16

// ErrStranger says that the server shows no authority that the client knows,
// and none that one it knows has endorsed.
var ErrStranger = errors.New("the server does not present the CA certificate that this client or its token knows, nor a successor which that one has endorsed: is it the right server? After a rotation of the certificate authority take its new certificate or a new token")

// Anchors are the authorities that a client knows.
type Anchors struct {
	// Certificates are known whole.
	Certificates []*x509.Certificate
	// Pins are SHA-256 of certificates' DER, as tokens carry them.
	Pins [][]byte
}

// Parse reads authorities in PEM, one or more.
func Parse(text []byte) (Anchors, error) {
	var a Anchors
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return a, fmt.Errorf("read certificate authorities: a PEM block %q, want CERTIFICATE", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return a, fmt.Errorf("read certificate authorities: %w", err)
		}
		a.Certificates = append(a.Certificates, c)
	}
	if len(a.Certificates) == 0 {
		return a, errors.New("read certificate authorities: no certificate in PEM")
	}
	return a, nil
}

// Guard makes a configuration of connections accept exactly the servers that
// are for this host and whose authority is known. The library's own check
// needs the authority before the handshake; a pinned or endorsed one becomes
// known in it, so Guard does all of the check.
func (a Anchors) Guard(c *tls.Config, host string) {
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(s tls.ConnectionState) error {
		name := host
		if name == "" {
			name = s.ServerName
		}
		now := time.Now()
		if c.Time != nil {
			now = c.Time()
		}
		return a.Verify(s.PeerCertificates, name, now)
	}
}

// Verify accepts a chain whose first certificate is for this host, name or
// address, and that ends in a known authority or in one that a known one has
// endorsed: an endorsement is a certificate of an authority's key, signed by
// another authority. Path lengths do not count for it, so that authorities
// which may not certify others (those made before there was rotation) can still
// name their successor.
func (a Anchors) Verify(chain []*x509.Certificate, host string, now time.Time) error {
	if len(chain) == 0 || len(chain) > maxChain {
		return fmt.Errorf("%w (it shows %d certificates)", ErrStranger, len(chain))
	}
	if host == "" {
		return errors.New("verify the server: the name it is called by is not known")
	}
	anchors := slices.Clone(a.Certificates)
	others := slices.Clone(chain[1:])
	for _, c := range others {
		if c.IsCA && a.pins(c) {
			anchors = append(anchors, c)
		}
	}
	if len(anchors) == 0 {
		return ErrStranger
	}
	anchors = endorsed(anchors, others, now)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range anchors {
		roots.AddCert(c)
	}
	for _, c := range others {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between, CurrentTime: now})
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%w: %w", ErrStranger, err)
	}
	return err
}

func (a Anchors) pins(c *x509.Certificate) bool {
	sum := sha256.Sum256(c.Raw)
	return slices.ContainsFunc(a.Pins, func(p []byte) bool { return bytes.Equal(p, sum[:]) }) // hashes of public things: no secret in the timing
}

// endorsed adds to anchors what they have endorsed, directly or in a row.
func endorsed(anchors, shown []*x509.Certificate, now time.Time) []*x509.Certificate {
	for grown := true; grown; {
		grown = false
		for _, c := range shown {
			valid := c.IsCA && c.BasicConstraintsValid && !now.Before(c.NotBefore) && !now.After(c.NotAfter)
			if !valid || slices.ContainsFunc(anchors, c.Equal) {
				continue
			}
			by := slices.IndexFunc(anchors, func(a *x509.Certificate) bool {
				return !now.After(a.NotAfter) && c.CheckSignatureFrom(a) == nil
			})
			if by >= 0 {
				anchors, grown = append(anchors, c), true
			}
		}
	}
	return anchors
}
