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
	"net/url"
	"os"
	"strings"
	"time"

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
	return ca.issueClient(who, ca.lives.Client)
}

func (ca *CA) issueClient(who api.Identity, life time.Duration) (certificate, key []byte, err error) {
	if who.Scope != nil {
		return nil, nil, fmt.Errorf("certify %s: a certificate cannot be narrowed to %s: make a token", who.Name, who.Scope)
	}
	private, err := newKey()
	if err != nil {
		return nil, nil, fmt.Errorf("make key of %s: %w", who.Name, err)
	}
	cert, err := ca.certifyClient(Request{private.Public()}, who, "", life)
	if err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(private)
	return encodeCertificate(cert.Raw), key, err
}

// briefLife is that of a certificate for one question; below any other life,
// and well above what clocks of controllers may differ by.
const briefLife = 20 * time.Minute

// IssueBrief is IssueClient for a holder who asks one question with it and
// drops it: nobody is locked out when its authority goes.
func (ca *CA) IssueBrief(who api.Identity) (certificate, key []byte, err error) {
	return ca.issueClient(who, briefLife)
}

// IsBrief tells whether a certificate was made by IssueBrief.
func IsBrief(cert *x509.Certificate) bool {
	return cert.NotAfter.Sub(cert.NotBefore) <= backdate+briefLife
}

// CertifyClient certifies a key for an identity that an orchestrator of this
// UUID stands behind; another of its name, made later, does not inherit it.
func (ca *CA) CertifyClient(r Request, who api.Identity, orchestrator string) (*x509.Certificate, error) {
	if who.Scope != nil {
		return nil, api.Errorf(api.CodeInvalid, "certify %s: a certificate cannot be narrowed to %s: make a token", who.Name, who.Scope)
	}
	return ca.certifyClient(r, who, orchestrator, ca.lives.Client)
}

func (ca *CA) certifyClient(r Request, who api.Identity, orchestrator string, life time.Duration) (*x509.Certificate, error) {
	template := ca.template(subject(who), life)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if orchestrator != "" {
		template.URIs = []*url.URL{{Scheme: "weft", Opaque: orchestratorOpaque + orchestrator}}
	}
	der, err := ca.issuing().sign(template, r.public)
	if err != nil {
		return nil, fmt.Errorf("certify %s: %w", who.Name, err)
	}
	return x509.ParseCertificate(der)
}

// orchestratorOpaque begins the opaque part of the URI weft:orchestrator:<uuid>.
const orchestratorOpaque = "orchestrator:"

// Orchestrator returns the UUID of the orchestrator a certificate was made for,
// or "" in one that does not say it.
func Orchestrator(cert *x509.Certificate) string {
	for _, u := range cert.URIs {
		if uuid, ok := strings.CutPrefix(u.Opaque, orchestratorOpaque); ok && u.Scheme == "weft" {
			return uuid
		}
	}
	return ""
}

// Made is when a certificate was made.
func Made(cert *x509.Certificate) time.Time { return cert.NotBefore.Add(backdate) }

// Encode returns a certificate in PEM.
func Encode(cert *x509.Certificate) string { return string(encodeCertificate(cert.Raw)) }

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
	template := ca.template(subject(api.Identity{Name: name, Role: api.RoleHost}), ca.lives.Host)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	template.URIs = []*url.URL{{Scheme: "weft", Opaque: "host:" + uuid}}
	der, err := ca.issuing().sign(template, r.public)
	if err != nil {
		return nil, fmt.Errorf("certify host %s: %w", name, err)
	}
	return encodeCertificate(der), nil
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
// What it replaces is left alone before the new one is whole.
func (ca *CA) WriteAdminConfig(path, server string) error {
	if ca.goodAdminConfig(path, server) {
		return nil
	}
	who := api.Identity{Name: "admin", Orchestrator: api.AdministratorsName, Role: api.RoleAdmin}
	certificate, key, err := ca.IssueClient(who)
	if err != nil {
		return err
	}
	text, err := yaml.Marshal(clientConfig{server, string(ca.Bundle()), string(certificate), string(key)})
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeFile(path, text, 0o600)
}

func (ca *CA) goodAdminConfig(path, server string) bool {
	data, err := os.ReadFile(path)
	var have clientConfig
	if err = errors.Join(err, yaml.Unmarshal(data, &have)); err != nil || have.Server != server || have.CA != string(ca.Bundle()) {
		return false
	}
	pair, err := tls.X509KeyPair([]byte(have.Certificate), []byte(have.Key))
	return err == nil && pair.Leaf.CheckSignatureFrom(ca.issuing().cert) == nil && !due(pair.Leaf, ca.now())
}

// Decode reads a certificate in PEM.
func Decode(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("read certificate: not one in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// Serial returns a certificate's serial number in hexadecimal, as people see it.
func Serial(cert *x509.Certificate) string { return cert.SerialNumber.Text(16) }
