// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
)

// clock is a time that tests move.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func open(t *testing.T, dir string, c *clock) *CA {
	t.Helper()
	ca, err := Open(dir, c.Now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestAuthorityStays(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	first, again := open(t, dir, c), open(t, dir, c)
	if first.Hash() != again.Hash() || len(first.Hash()) != 64 {
		t.Errorf("hashes %s and %s", first.Hash(), again.Hash())
	}
	info, err := os.Stat(filepath.Join(dir, fileCA))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key's file: %v, %v", info.Mode(), err)
	}
	// A damaged file is an error, never a new authority.
	if err := os.WriteFile(filepath.Join(dir, fileCA), first.Bundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, c.Now); err == nil || !strings.Contains(err.Error(), "restore the file") {
		t.Errorf("without a key: %v", err)
	}
}

func TestServerCertificate(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	ca := open(t, dir, c)
	get := func(names ...string) *x509.Certificate {
		t.Helper()
		s, err := ca.ServerCertificate(names)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := s.Get(nil)
		if err != nil || len(pair.Certificate) != 2 {
			t.Fatalf("chain of %d, %v", len(pair.Certificate), err)
		}
		return pair.Leaf
	}
	first := get("weft.example", "192.0.2.1", "2001:db8::1")
	for _, name := range []string{"weft.example", "192.0.2.1", "2001:db8::1"} {
		_, err := first.Verify(x509.VerifyOptions{DNSName: name, Roots: ca.Pool()})
		if err != nil {
			t.Errorf("for %s: %v", name, err)
		}
	}
	if !get("2001:db8::1", "192.0.2.1", "weft.example").Equal(first) {
		t.Error("the same names in another order gave a new certificate")
	}
	if get("weft.example").Equal(first) {
		t.Error("other names gave the same certificate")
	}
	running, err := ca.ServerCertificate([]string{"weft.example"})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := running.Get(nil)
	c.now = c.now.Add(serverLife / 2)
	if same, _ := running.Get(nil); same != before {
		t.Error("renewed at half of its life")
	}
	c.now = c.now.Add(serverLife / 4)
	if after, err := running.Get(nil); err != nil || after == before || !after.Leaf.NotAfter.After(before.Leaf.NotAfter) {
		t.Errorf("not renewed in the last third: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	c := &clock{time.Now()}
	ca := open(t, t.TempDir(), c)
	for _, who := range []api.Identity{
		{Name: "a", Orchestrator: "weft", Role: api.RoleAdmin},
		{Name: "b", Orchestrator: "k8s-1", Role: api.RoleMember},
		{Name: "h", Role: api.RoleHost},
	} {
		text, _, err := ca.IssueClient(who)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := Identity(cert); !ok || got != who {
			t.Errorf("got %+v, want %+v", got, who)
		}
	}
	server, err := ca.ServerCertificate([]string{"x"})
	if err != nil {
		t.Fatal(err)
	}
	pair, _ := server.Get(nil)
	for what, cert := range map[string]*x509.Certificate{"the server": pair.Leaf, "the authority": ca.serving().cert} {
		if who, ok := Identity(cert); ok {
			t.Errorf("the certificate of %s stands for %+v", what, who)
		}
	}
}

func TestParseRequestRefuses(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	}
	if _, err := ParseRequest(encode(der)); err != nil {
		t.Errorf("a good request: %v", err)
	}
	forged := append([]byte{}, der...)
	forged[len(forged)-1] ^= 1
	for what, text := range map[string]string{"nothing": "", "noise": "x", "two": encode(der) + encode(der), "forged": encode(forged)} {
		if _, err := ParseRequest(text); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

func TestAdminConfigIsKeptWhileGood(t *testing.T) {
	dir, c := t.TempDir(), &clock{time.Now()}
	ca := open(t, dir, c)
	path := filepath.Join(dir, "admin.yaml")
	write := func(server string) string {
		t.Helper()
		if err := ca.WriteAdminConfig(path, server); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := write("https://a:7443")
	if write("https://a:7443") != first {
		t.Error("written again without need")
	}
	moved := write("https://b:7443")
	if moved == first || !strings.Contains(moved, "https://b:7443") {
		t.Error("not written for another server")
	}
	c.now = c.now.Add(clientLife * 3 / 4)
	if write("https://b:7443") == moved {
		t.Error("not renewed in the last third of its life")
	}
}
