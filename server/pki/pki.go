// SPDX-License-Identifier: Apache-2.0

// Package pki is Weft's own certificate authority: made at the first start in
// a directory, it certifies the API server, administrators and hosts. A
// certificate's subject says who its holder is; package server reads it back.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// caLife is long, since replacing a CA touches every host and client.
	caLife = 20 * 365 * 24 * time.Hour
	// serverLife, clientLife and hostLife are a year; a server renews its own.
	serverLife = 365 * 24 * time.Hour
	clientLife = 365 * 24 * time.Hour
	hostLife   = 365 * 24 * time.Hour
	// backdate makes a certificate valid for hosts whose clock is behind.
	backdate = time.Hour
	// renewLeft is the part of its life, one third, at which a certificate is renewed.
	renewLeft = 3

	fileCA     = "ca.pem" // key and certificate in one file, so that both or none are there
	fileCACert = "ca.crt" // the certificate alone, to be given away
	fileServer = "server.pem"
)

// Lives are how long certificates are good for.
type Lives struct {
	Server, Client, Host time.Duration
}

// CA is the certificate authority of one Weft: one, or two while the one
// replaces the other (see State).
type CA struct {
	dir   string
	now   func() time.Time
	lives Lives

	mu      sync.RWMutex // guards everything that follows
	state   State
	members map[string]*member // by hash, with their keys
	// verified remembers good certificates of clients, by the SHA-256 of their
	// DER, with the hash of their authority. It is emptied when that changes.
	verified map[[sha256.Size]byte]string
}

// Open reads the authority of a directory, or makes it. now is the clock.
func Open(dir string, now func() time.Time) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	ca := &CA{dir: dir, now: now, lives: Lives{serverLife, clientLife, hostLife}, members: map[string]*member{}}
	path := filepath.Join(dir, fileCA)
	var main *member
	key, cert, err := readPair(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if main, err = ca.create(); err == nil {
			err = writePair(path, main.key, main.cert.Raw)
		}
		if err != nil {
			return nil, fmt.Errorf("make certificate authority: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("open certificate authority: %w: restore the file from a backup; a new one would be unknown to all hosts", err)
	default:
		main = newMember(key, cert)
	}
	if err := ca.readMembers(); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w: restore the file from a backup, or remove it if another controller has it", err)
	}
	ca.members[main.hash] = main
	ca.state = State{Serving: main.hash, Issuing: main.hash, Trusted: []Authority{{Hash: main.hash, Certificate: string(encodeCertificate(main.cert.Raw))}}}
	if err := writeFile(filepath.Join(dir, fileCACert), ca.Bundle(), 0o644); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	return ca, nil
}

// Live sets how long certificates that are made from now on are good for; what
// is 0 stays as it is. It is called before the authority is used.
func (ca *CA) Live(l Lives) {
	for have, want := range map[*time.Duration]time.Duration{&ca.lives.Server: l.Server, &ca.lives.Client: l.Client, &ca.lives.Host: l.Host} {
		if want != 0 {
			*have = want
		}
	}
}

// Has tells whether a directory holds an authority, whole or not.
func Has(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, fileCA))
	return !errors.Is(err, fs.ErrNotExist)
}

// create makes an authority; it is nobody's yet.
func (ca *CA) create() (*member, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := ca.template(pkix.Name{CommonName: "Weft CA", Organization: []string{"weft:ca"}}, caLife)
	// One more authority below: the successor that this one endorses.
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLen = true, true, 1
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return newMember(key, cert), nil
}

func (ca *CA) serving() *member {
	ca.mu.RLock()
	defer ca.mu.RUnlock()
	return ca.members[ca.state.Serving]
}

func (ca *CA) issuing() *member {
	ca.mu.RLock()
	defer ca.mu.RUnlock()
	return ca.members[ca.state.Issuing]
}

// Bundle returns the certificates of all authorities that are accepted, in
// PEM, the serving one first: what clients and hosts shall trust.
func (ca *CA) Bundle() []byte {
	ca.mu.RLock()
	defer ca.mu.RUnlock()
	return ca.bundle()
}

func (ca *CA) bundle() []byte {
	text := encodeCertificate(ca.members[ca.state.Serving].cert.Raw)
	for _, a := range ca.state.Trusted {
		if a.Hash != ca.state.Serving {
			text = append(text, a.Certificate...)
		}
	}
	return text
}

// Hash returns the SHA-256 of the serving certificate's DER in hex, which
// tokens carry.
func (ca *CA) Hash() string { return ca.State().Serving }

// Issuing returns the hash of the authority that certifies hosts and clients.
func (ca *CA) Issuing() string { return ca.State().Issuing }

// Pool returns what to trust.
func (ca *CA) Pool() *x509.CertPool {
	ca.mu.RLock()
	defer ca.mu.RUnlock()
	pool := x509.NewCertPool()
	for _, a := range ca.state.Trusted {
		pool.AddCert(ca.members[a.Hash].cert)
	}
	return pool
}

// Accepts tells whether a chain that was verified once is still good: its
// authority is accepted, and its first certificate valid. Connections outlive
// both. It returns the authority's hash.
func (ca *CA) Accepts(chain []*x509.Certificate) (string, bool) {
	if len(chain) == 0 {
		return "", false
	}
	hash, now := hashOf(chain[len(chain)-1]), ca.now()
	return hash, ca.State().Has(hash) && !now.After(chain[0].NotAfter) && !now.Before(chain[0].NotBefore)
}

func (ca *CA) template(subject pkix.Name, life time.Duration) *x509.Certificate {
	now := ca.now()
	return &x509.Certificate{
		SerialNumber: serial(), Subject: subject,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// sign certifies a public key and returns the certificate's DER.
func (m *member) sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	if template.NotAfter.After(m.cert.NotAfter) {
		template.NotAfter = m.cert.NotAfter
	}
	return x509.CreateCertificate(rand.Reader, template, m.cert, public, m.key)
}

// serial is 127 random bits, never zero (RFC 5280 allows 20 bytes).
func serial() *big.Int {
	raw := make([]byte, 16)
	rand.Read(raw) // never fails, as crypto/rand says
	raw[0] = raw[0]&0x7f | 0x40
	return new(big.Int).SetBytes(raw)
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// due tells whether a certificate is in the last third of its life, or was made
// by a clock that was ahead, so that nobody takes it yet.
func due(cert *x509.Certificate, now time.Time) bool {
	return now.Before(cert.NotBefore) || cert.NotAfter.Sub(now) < cert.NotAfter.Sub(cert.NotBefore)/renewLeft
}

// alternatives sorts names into IP addresses and DNS names.
func alternatives(names []string) (dns []string, ips []net.IP) {
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			ips = append(ips, ip)
		} else {
			dns = append(dns, n)
		}
	}
	return dns, ips
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
