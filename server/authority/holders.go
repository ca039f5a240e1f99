// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/server/pki"
)

// namedMax is how many of those who have not renewed a refusal names.
const namedMax = 10

// Certified is a certificate that an authority has just made, with what its
// holder must trust.
type Certified struct {
	Certificate string // PEM
	NotAfter    time.Time
	Bundle      []byte // PEM
	Issuing     string // hash of the authority that made it
}

// CertifyHost certifies a host's key and notes it.
func (k *Keeper) CertifyHost(ctx context.Context, csr string, host api.Ref) (Certified, error) {
	request, err := pki.ParseRequest(csr)
	if err != nil {
		return Certified{}, err
	}
	text, err := k.options.CA.CertifyHost(request, host.Name, host.UUID)
	if err != nil {
		return Certified{}, err
	}
	cert, err := pki.Decode(string(text))
	if err != nil {
		return Certified{}, err
	}
	holder := k.holder(api.HolderHost, cert)
	holder.Name, holder.UUID = host.Name, host.UUID
	// Noted before it is given away: a host that is noted and has not got it will ask again.
	if err := k.options.Authorities.SetCertificate(ctx, hostKey(host.UUID), holder); err != nil {
		return Certified{}, err
	}
	return k.certified(cert), nil
}

// CertifyClient certifies a new key for a client that has shown its present
// certificate, nil for one that had none, and notes it in place of that one.
func (k *Keeper) CertifyClient(ctx context.Context, csr string, who api.Identity, orchestrator string, present *x509.Certificate) (Certified, error) {
	request, err := pki.ParseRequest(csr)
	if err != nil {
		return Certified{}, err
	}
	cert, err := k.options.CA.CertifyClient(request, who, orchestrator)
	if err != nil {
		return Certified{}, err
	}
	holder := k.holder(api.HolderClient, cert)
	holder.Name, holder.Orchestrator = who.Name, who.Orchestrator
	if err := k.options.Authorities.SetCertificate(ctx, clientKey(holder.Serial), holder); err != nil {
		return Certified{}, err
	}
	if present != nil {
		k.Forget(ctx, serialOf(present))
	}
	return k.certified(cert), nil
}

func (k *Keeper) certified(cert *x509.Certificate) Certified {
	return Certified{pki.Encode(cert), cert.NotAfter, k.options.CA.Bundle(), k.options.CA.Issuing()}
}

func (k *Keeper) holder(kind string, cert *x509.Certificate) api.CertificateHolder {
	return api.CertificateHolder{
		Kind: kind, Serial: serialOf(cert), Authority: k.options.CA.Issuing(),
		NotAfter: cert.NotAfter.UTC(), Noted: k.options.Now().UTC().Truncate(time.Second),
	}
}

// Bundle returns what to trust, and which authority certifies hosts and clients.
func (k *Keeper) Bundle() (bundle []byte, issuing string) {
	return k.options.CA.Bundle(), k.options.CA.Issuing()
}

// Saw notes a client that used a certificate of an authority that is to go:
// such certificates may have been made before they were noted. authority is the
// hash of the one that made it.
func (k *Keeper) Saw(ctx context.Context, who api.Identity, cert *x509.Certificate, authority string) {
	s := k.options.CA.State()
	if phase(s) != api.AuthorityReplacing || authority == s.Issuing || pki.IsBrief(cert) {
		return
	}
	key, now := clientKey(serialOf(cert)), k.options.Now()
	k.mu.Lock()
	since := now.Sub(k.noted[key])
	known := since >= 0 && since < noteAgain
	if !known {
		k.noted[key] = now
	}
	k.mu.Unlock()
	if known {
		return
	}
	h := k.holder(api.HolderClient, cert)
	h.Name, h.Orchestrator, h.Authority = who.Name, who.Orchestrator, authority
	if err := k.options.Authorities.SetCertificate(ctx, key, h); err != nil {
		k.log.Warn("a client's certificate is not noted", "error", err)
		k.mu.Lock()
		delete(k.noted, key) // the next request tries again
		k.mu.Unlock()
	}
}

// Forget drops the note of a client's certificate that was replaced. It is
// noted again if it is used again.
func (k *Keeper) Forget(ctx context.Context, serial string) {
	key := clientKey(serial)
	if err := k.options.Authorities.DropCertificate(ctx, key); err != nil {
		k.log.Warn("a replaced certificate is still noted", "serial", serial, "error", err)
	}
	// Only now: what is noted between the two would be dropped and count as noted.
	k.mu.Lock()
	delete(k.noted, key)
	k.mu.Unlock()
}

// pending lists who would be locked out without the old authority.
func (k *Keeper) pending(ctx context.Context, s pki.State, controllers []api.AuthorityController) ([]api.CertificateHolder, error) {
	var all []api.CertificateHolder
	hosts := map[string]api.Ref{} // that have not renewed, by UUID
	for _, h := range k.options.Hosts() {
		hosts[h.UUID] = h
	}
	now, next := k.options.Now(), s.Next()
	err := k.options.Authorities.Certificates(ctx, func(key string, value []byte) error {
		h, err := decodeHolder(value)
		switch {
		case err != nil:
			return err
		case h.Kind == api.HolderHost && h.Authority == next:
			delete(hosts, h.UUID)
		case h.Kind == api.HolderClient && h.Authority != next && now.Before(h.NotAfter):
			all = append(all, h)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, h := range hosts {
		all = append(all, api.CertificateHolder{Kind: api.HolderHost, Name: h.Name, UUID: h.UUID})
	}
	for _, c := range controllers {
		if !c.Current {
			all = append(all, api.CertificateHolder{Kind: api.HolderController, Name: c.Name})
		}
	}
	slices.SortFunc(all, func(a, b api.CertificateHolder) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Serial, b.Serial))
	})
	return all, nil
}

// sweep forgets certificates that are good for nothing any more: of hosts that
// are gone, and those that have expired or whose authority is not accepted.
func (k *Keeper) sweep(ctx context.Context) {
	s, _, err := k.state(ctx)
	if err != nil {
		k.log.Warn("notes of old certificates are kept", "error", err)
		return
	}
	there := map[string]bool{}
	for _, h := range k.options.Hosts() {
		there[h.UUID] = true
	}
	var useless []string
	now := k.options.Now()
	err = k.options.Authorities.Certificates(ctx, func(key string, value []byte) error {
		h, err := decodeHolder(value)
		if err == nil && (h.Kind == api.HolderHost && !there[h.UUID] || now.After(h.NotAfter) || !s.Has(h.Authority)) {
			useless = append(useless, key)
		}
		return err
	})
	for _, key := range useless {
		if err == nil {
			err = k.options.Authorities.DropCertificate(ctx, key)
		}
	}
	if err != nil {
		k.log.Warn("notes of old certificates are kept", "error", err)
	}
}

// names lists some of those who have not renewed.
func names(pending []api.CertificateHolder) string {
	var words []string
	for _, h := range pending[:min(namedMax, len(pending))] {
		word := h.Kind + " " + h.Name
		if h.Orchestrator != "" {
			word += " of " + h.Orchestrator + " (serial " + h.Serial + ")"
		}
		words = append(words, word)
	}
	if more := len(pending) - namedMax; more > 0 {
		words = append(words, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, ", ")
}

func hostKey(uuid string) string     { return api.HolderHost + "/" + uuid }
func clientKey(serial string) string { return api.HolderClient + "/" + serial }

func serialOf(cert *x509.Certificate) string { return pki.Serial(cert) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
