// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
)

// OrganizationPrefix stands before the role in a certificate's organization.
const OrganizationPrefix = "weft:"

// HostURIPrefix stands before the UUID in the URI that names a host.
const HostURIPrefix = "weft:host:"

// rsaBitsMin is the least RSA key that is certified (NIST SP 800-57: 112 bits of strength).
const rsaBitsMin = 2048

// subject is how an identity is written in a certificate.
func subject(who api.Identity) pkix.Name {
	name := pkix.Name{CommonName: who.Name, Organization: []string{OrganizationPrefix + string(who.Role)}}
	if who.Orchestrator != "" {
		name.OrganizationalUnit = []string{who.Orchestrator}
	}
	return name
}

// Identity reads back from a verified certificate whose it is. Certificates of
// servers and the authority are nobody's.
func Identity(cert *x509.Certificate) (api.Identity, bool) {
	s := cert.Subject
	if len(s.Organization) != 1 || s.CommonName == "" {
		return api.Identity{}, false
	}
	role, ok := strings.CutPrefix(s.Organization[0], OrganizationPrefix)
	who := api.Identity{Name: s.CommonName, Role: api.Role(role)}
	if len(s.OrganizationalUnit) == 1 {
		who.Orchestrator = s.OrganizationalUnit[0]
	}
	switch who.Role {
	case api.RoleAdmin, api.RoleMember, api.RoleReader:
		return who, ok && who.Orchestrator != ""
	case api.RoleHost:
		return who, ok
	}
	return api.Identity{}, false
}

// IssueClient makes a key and a client certificate, both in PEM. Certificates
// cannot say a scope: narrowed credentials are tokens.
func (ca *CA) IssueClient(who api.Identity) (certificate, key []byte, err error) {
	if who.Scope != nil {
		return nil, nil, fmt.Errorf("certify %s: a certificate cannot be narrowed to %s: make a token", who.Name, who.Scope)
	}
	private, err := newKey()
	if err != nil {
		return nil, nil, fmt.Errorf("make key of %s: %w", who.Name, err)
	}
	template := ca.template(subject(who), clientLife)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := ca.sign(template, private.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("certify %s: %w", who.Name, err)
	}
	key, err = encodeKey(private)
	return encodeCertificate(der), key, err
}

// Request is a host's verified wish to have its key certified.
type Request struct{ public crypto.PublicKey }

// ParseRequest reads a PKCS #10 request in PEM. Only its key is used; what it
// says about names is ignored.
func ParseRequest(text string) (Request, error) {
	fail := func(format string, args ...any) (Request, error) {
		return Request{}, api.Errorf(api.CodeInvalid, "read certificate request: "+format, args...).About("", "", "csr")
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) > 0 {
		return fail("want one PEM block CERTIFICATE REQUEST")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return fail("%v", err)
	}
	if err := r.CheckSignature(); err != nil {
		return fail("its signature is not by its key: %v", err)
	}
	switch k := r.PublicKey.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	case *rsa.PublicKey:
		if k.N.BitLen() < rsaBitsMin {
			return fail("an RSA key of %d bits, at least %d are required", k.N.BitLen(), rsaBitsMin)
		}
	default:
		return fail("a key of type %T, want ECDSA, Ed25519 or RSA", k)
	}
	return Request{r.PublicKey}, nil
}

// CertifyHost certifies a host's key and returns the certificate in PEM.
func (ca *CA) CertifyHost(r Request, name, uuid string) ([]byte, error) {
	template := ca.template(subject(api.Identity{Name: name, Role: api.RoleHost}), hostLife)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	template.URIs = []*url.URL{{Scheme: "weft", Opaque: "host:" + uuid}}
	der, err := ca.sign(template, r.public)
	if err != nil {
		return nil, fmt.Errorf("certify host %s: %w", name, err)
	}
	return encodeCertificate(der), nil
}

// ServerCertificate is the certificate of this controller's listeners. It is
// renewed by itself in the last third of its life.
type ServerCertificate struct {
	ca    *CA
	names []string
	path  string

	// mu guards everything that follows.
	mu      sync.Mutex
	current *tls.Certificate
}

// ServerCertificate reads the certificate for these names and addresses, or
// makes a new one if there is none, or it is for others.
func (ca *CA) ServerCertificate(names []string) (*ServerCertificate, error) {
	s := &ServerCertificate{ca: ca, names: names, path: filepath.Join(ca.dir, fileServer)}
	key, cert, err := readPair(s.path)
	if err == nil && sameNames(cert, names) && cert.CheckSignatureFrom(ca.cert) == nil {
		s.current = s.chain(key, cert)
	}
	_, err = s.Get(nil)
	return s, err
}

// Get returns the certificate with the authority's, for tls.Config.GetCertificate.
func (s *ServerCertificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && !due(s.current.Leaf, s.ca.now()) {
		return s.current, nil
	}
	fresh, err := s.renew()
	if err != nil {
		return nil, fmt.Errorf("renew the server's certificate: %w", err)
	}
	s.current = fresh
	return fresh, nil
}

func (s *ServerCertificate) renew() (*tls.Certificate, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := s.ca.template(pkix.Name{CommonName: "weft-controller", Organization: []string{"weft:server"}}, serverLife)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames, template.IPAddresses = alternatives(s.names)
	der, err := s.ca.sign(template, key.Public())
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
	return s.chain(key, cert), nil
}

// chain includes the authority, so that a client that knows only its hash can check.
func (s *ServerCertificate) chain(key crypto.Signer, cert *x509.Certificate) *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{cert.Raw, s.ca.cert.Raw}, PrivateKey: key, Leaf: cert}
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

// clientConfig is the form of a client configuration file (see api/client).
type clientConfig struct {
	Server      string `json:"server"`
	CA          string `json:"ca"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

// WriteAdminConfig makes sure that path holds a client configuration with
// which administrators reach the server. A file that is still good is kept.
func (ca *CA) WriteAdminConfig(path, server string) error {
	if ca.goodAdminConfig(path, server) {
		return nil
	}
	who := api.Identity{Name: "admin", Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	certificate, key, err := ca.IssueClient(who)
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(clientConfig{server, string(ca.Certificate()), string(certificate), string(key)})
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeFile(path, text, 0o600)
}

func (ca *CA) goodAdminConfig(path, server string) bool {
	data, err := os.ReadFile(path)
	var have clientConfig
	if err = errors.Join(err, yaml.Unmarshal(data, &have)); err != nil || have.Server != server || have.CA != string(ca.Certificate()) {
		return false
	}
	pair, err := tls.X509KeyPair([]byte(have.Certificate), []byte(have.Key))
	return err == nil && pair.Leaf.CheckSignatureFrom(ca.cert) == nil && !due(pair.Leaf, ca.now())
}
