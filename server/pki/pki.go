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
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
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

// CA is the certificate authority of one Weft.
type CA struct {
	dir  string
	key  crypto.Signer
	cert *x509.Certificate
	now  func() time.Time
}

// Open reads the authority of a directory, or makes it. now is the clock.
func Open(dir string, now func() time.Time) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	ca := &CA{dir: dir, now: now}
	path := filepath.Join(dir, fileCA)
	key, cert, err := readPair(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := ca.create(path); err != nil {
			return nil, fmt.Errorf("make certificate authority: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("open certificate authority: %w: restore the file from a backup; a new one would be unknown to all hosts", err)
	default:
		ca.key, ca.cert = key, cert
	}
	if err := writeFile(filepath.Join(dir, fileCACert), ca.Certificate(), 0o644); err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	return ca, nil
}

// Has tells whether a directory holds an authority, whole or not.
func Has(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, fileCA))
	return !errors.Is(err, fs.ErrNotExist)
}

func (ca *CA) create(path string) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	template := ca.template(pkix.Name{CommonName: "Weft CA", Organization: []string{"weft:ca"}}, caLife)
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	ca.key = key
	return writePair(path, key, der)
}

// Certificate returns the authority's certificate in PEM.
func (ca *CA) Certificate() []byte { return encodeCertificate(ca.cert.Raw) }

// Hash returns the SHA-256 of the certificate's DER in hex, which tokens carry.
func (ca *CA) Hash() string {
	sum := sha256.Sum256(ca.cert.Raw)
	return hex.EncodeToString(sum[:])
}

// Pool returns the authority as what to trust.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
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
func (ca *CA) sign(template *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	if template.NotAfter.After(ca.cert.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	return x509.CreateCertificate(rand.Reader, template, ca.cert, public, ca.key)
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
