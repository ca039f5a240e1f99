// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
)

// ServerCertificate is the certificate of this controller's listeners. It is
// renewed by itself in the last third of its life.
type ServerCertificate struct {
	ca    *CA
	names []string
	path  string

	// mu guards everything that follows.
	mu      sync.Mutex
	current *tls.Certificate
	by      string // hash of the authority that signed it
	shown   int64  // generation of the authorities that it shows
}

// ServerCertificate reads the certificate for these names and addresses, or
// makes a new one if there is none, or it is for others.
func (ca *CA) ServerCertificate(names []string) (*ServerCertificate, error) {
	s := &ServerCertificate{ca: ca, names: names, path: filepath.Join(ca.dir, fileServer)}
	key, cert, err := readPair(s.path)
	if by := ca.serving(); err == nil && sameNames(cert, names) && cert.CheckSignatureFrom(by.cert) == nil {
		s.current, s.by = &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, by.hash
	}
	_, err = s.Get(nil)
	return s, err
}

// Get returns the certificate with the authorities', for
// tls.Config.GetCertificate. A new authority takes effect at once, also for
// what was renewed a moment ago.
func (s *ServerCertificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, by := s.ca.State(), s.ca.serving()
	if s.current == nil || s.by != by.hash || due(s.current.Leaf, s.ca.now()) {
		fresh, err := s.renew(by)
		if err != nil {
			return nil, fmt.Errorf("renew the server's certificate: %w", err)
		}
		s.current, s.by, s.shown = fresh, by.hash, -1
	}
	if s.shown != state.Generation || len(s.current.Certificate) == 1 {
		s.current, s.shown = s.chain(s.current, by, state), state.Generation
	}
	return s.current, nil
}

func (s *ServerCertificate) renew(by *member) (*tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := s.ca.template(pkix.Name{CommonName: "weft-controller", Organization: []string{"weft:server"}}, s.ca.lives.Server)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames, template.IPAddresses = alternatives(s.names)
	der, err := by.sign(template, key.Public())
	if err != nil {
		return nil, err
	}
	if err := writePair(s.path, key, der); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}, nil
}

// chain includes the authority, so that a client that knows only its hash can
// check, and the endorsements by its predecessors, so that one that knows only
// those can. What is endorsed but does not serve yet is not shown.
func (s *ServerCertificate) chain(of *tls.Certificate, by *member, state State) *tls.Certificate {
	shown := [][]byte{of.Leaf.Raw, by.cert.Raw}
	for _, e := range state.Endorsements {
		for _, text := range []string{e.Certificate, e.By} {
			block, _ := pem.Decode([]byte(text))
			known := block == nil || slices.ContainsFunc(shown, func(der []byte) bool { return bytes.Equal(der, block.Bytes) })
			if !known {
				shown = append(shown, block.Bytes)
			}
		}
	}
	return &tls.Certificate{Certificate: shown, PrivateKey: of.PrivateKey, Leaf: of.Leaf}
}

// TLS is what this controller's listeners use: its certificate, and the
// authorities of clients as they are at the moment of each handshake. Sessions
// are not resumed: an authority that is dropped is dropped for all.
func (s *ServerCertificate) TLS(clients tls.ClientAuthType) *tls.Config {
	base := &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.Get, ClientAuth: clients, SessionTicketsDisabled: true, Time: s.ca.now, NextProtos: []string{"h2", "http/1.1"}}
	outer := base.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
		c.ClientCAs = s.ca.Pool()
		return c, nil
	}
	return outer
}

func sameNames(cert *x509.Certificate, names []string) bool {
	dns, ips := alternatives(names)
	text := func(ips []net.IP) []string {
		var out []string
		for _, ip := range ips {
			out = append(out, ip.String())
		}
		return out
	}
	same := func(a, b []string) bool {
		a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
		return slices.Equal(slices.Compact(a), slices.Compact(b))
	}
	return same(cert.DNSNames, dns) && same(text(cert.IPAddresses), text(ips))
}

// verifiedMax bounds how many clients' certificates are remembered as good.
const verifiedMax = 4096

// Verify returns the hash of the authority of a client's certificate, which is
// the first of those that the client showed, if it is good now. The listener
// takes any certificate whose key the client has, and each request is judged by
// this: a client that is refused in the handshake is not told why, and a
// connection outlives certificates and authorities.
func (ca *CA) Verify(shown []*x509.Certificate) (string, error) {
	if len(shown) == 0 {
		return "", errors.New("no certificate")
	}
	cert, now := shown[0], ca.now()
	key := sha256.Sum256(cert.Raw)
	ca.mu.RLock()
	by, known := ca.verified[key]
	ca.mu.RUnlock()
	if known && !now.After(cert.NotAfter) && !now.Before(cert.NotBefore) {
		return by, nil
	}
	chains, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return "", err
	}
	by = hashOf(chains[0][len(chains[0])-1])
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if !ca.state.Has(by) { // dropped in this very moment
		return "", fmt.Errorf("its authority %s was replaced", by)
	}
	if ca.verified == nil || len(ca.verified) >= verifiedMax {
		ca.verified = map[[sha256.Size]byte]string{}
	}
	ca.verified[key] = by
	return by, nil
}
