// SPDX-License-Identifier: Apache-2.0

package join

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/api/trust"
)

// renewLeft is the part of a certificate's life, one third, at which it is renewed.
const renewLeft = 3

// Credential is the identity of a running agent. It is renewed in place: with a
// new key in the last third of the certificate's life, or when another
// authority certifies hosts.
type Credential struct {
	dir string
	now func() time.Time

	mu sync.Mutex // guards id
	id Identity
}

// NewCredential returns the credential of an identity that is kept in a directory.
func NewCredential(id Identity, dir string, now func() time.Time) *Credential {
	return &Credential{dir: dir, now: now, id: id}
}

// TLS returns the configuration of new connections to a controller at a host.
func (c *Credential) TLS(host string) (*tls.Config, error) {
	config, err := c.identity().TLS(host)
	if err == nil {
		config.Time = c.now
	}
	return config, err
}

func (c *Credential) identity() Identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.id
}

// NotAfter is when the certificate expires.
func (c *Credential) NotAfter() (time.Time, error) {
	leaf, _, err := c.identity().leaf()
	if err != nil {
		return time.Time{}, err
	}
	return leaf.NotAfter, nil
}

// leaf returns the host's certificate and the authority that made it, nil if
// that is not among those the host knows.
func (id Identity) leaf() (leaf, by *x509.Certificate, err error) {
	block := pemBlock(id.certificate, "CERTIFICATE")
	if block == nil {
		return nil, nil, fmt.Errorf("read the certificate of host %s: it is not in PEM", id.Host)
	}
	if leaf, err = x509.ParseCertificate(block.Bytes); err != nil {
		return nil, nil, fmt.Errorf("read the certificate of host %s: %w", id.Host, err)
	}
	known, err := trust.Parse(id.ca)
	if err != nil {
		return nil, nil, err
	}
	for _, a := range known.Certificates {
		if leaf.CheckSignatureFrom(a) == nil {
			by = a
		}
	}
	return leaf, by, nil
}

// Tend asks a controller how things are, and renews what is due. It reports
// whether there is a new certificate: connections made with the old one go on,
// but new ones should take their place.
func (c *Credential) Tend(ctx context.Context, controller hoststream.HostStreamClient) (renewed bool, err error) {
	reply, err := controller.Certify(ctx, &hoststream.CertifyRequest{})
	if err != nil {
		return false, fmt.Errorf("ask the controller whom to trust: %w", err)
	}
	id := c.identity()
	changed := reply.Authorities != string(id.ca)
	id.ca = []byte(reply.Authorities)
	leaf, by, err := id.leaf()
	if err != nil {
		return false, err
	}
	due := leaf.NotAfter.Sub(c.now()) < leaf.NotAfter.Sub(leaf.NotBefore)/renewLeft
	if due || by == nil || hash(by) != reply.Issuing {
		if id, err = renew(ctx, controller, id); err != nil {
			return false, err
		}
		renewed, changed = true, true
	}
	if !changed {
		return false, nil
	}
	// On disk first: after a crash the host must be who the controllers think it is.
	if err := id.Save(c.dir); err != nil {
		return false, err
	}
	c.mu.Lock()
	c.id = id
	c.mu.Unlock()
	return renewed, nil
}

// renew has a new key certified.
func renew(ctx context.Context, controller hoststream.HostStreamClient, id Identity) (Identity, error) {
	key, csr, err := newKey(id.Host.Name)
	if err != nil {
		return id, err
	}
	reply, err := controller.Certify(ctx, &hoststream.CertifyRequest{Csr: csr})
	if err != nil {
		return id, fmt.Errorf("renew the certificate of host %s: %w", id.Host, err)
	}
	id.key, id.certificate, id.ca = key, []byte(reply.Certificate), []byte(reply.Authorities)
	if _, err := id.TLS("localhost"); err != nil {
		return id, fmt.Errorf("renew the certificate of host %s: what the controller sent is of no use: %w", id.Host, err)
	}
	return id, nil
}

func hash(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
