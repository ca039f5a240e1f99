// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/trust"
)

// copyDir copies the files of an authority's directory.
func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func adopt(t *testing.T, ca *CA, s State) {
	t.Helper()
	if err := ca.Adopt(s); err != nil {
		t.Fatal(err)
	}
}

// shownBy is what a client sees of a controller.
func shownBy(t *testing.T, ca *CA) []*x509.Certificate {
	t.Helper()
	s, err := ca.ServerCertificate([]string{"c.example"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := s.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	var chain []*x509.Certificate
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	return chain
}

// A rotation, seen by the controller that begins it, by one that follows, and
// by one that comes when all is over: all end with the same, and only that.
func TestRotation(t *testing.T) {
	c := &clock{time.Now()}
	dir := t.TempDir()
	first := open(t, dir, c)
	second, late := open(t, copyDir(t, dir), c), open(t, copyDir(t, dir), c)
	old := first.Bundle()
	introduced, err := first.Introduce()
	if err != nil {
		t.Fatal(err)
	}
	if first.Hash() != introduced.Serving || len(first.State().Trusted) != 1 {
		t.Error("to introduce an authority changed something before it was agreed upon")
	}
	for _, s := range introduced.Trusted {
		if strings.Contains(s.Certificate+string(s.Sealed), "PRIVATE") {
			t.Error("the state holds a key in the clear")
		}
	}
	switched := introduced.Switched(c.now)
	finished := switched.Finished(c.now)
	for what, step := range map[string]State{"introduced": introduced, "switched": switched} {
		for _, ca := range []*CA{first, second} {
			adopt(t, ca, step)
			if err := (&trust.Anchors{Certificates: certificates(t, old)}).Verify(shownBy(t, ca), "c.example", c.now); err != nil {
				t.Errorf("%s: who knows only the old authority: %v", what, err)
			}
		}
	}
	adopt(t, first, switched)
	adopt(t, second, switched)
	by, _, err := first.IssueClient(api.Identity{Name: "a", Orchestrator: "weft", Role: api.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	if hash, err := second.Verify(certificates(t, by)); err != nil || hash != switched.Next() {
		t.Errorf("a certificate of one controller at the other: by %s, %v", hash, err)
	}
	for _, ca := range []*CA{first, second, late} {
		adopt(t, ca, finished)
		files, _ := filepath.Glob(filepath.Join(ca.dir, "ca*.pem"))
		again := open(t, ca.dir, c)
		if len(files) != 1 || again.Hash() != finished.Serving || string(ca.Bundle()) == string(old) || len(certificates(t, ca.Bundle())) != 1 {
			t.Errorf("at the end: files %v, authority %s", files, again.Hash())
		}
	}
	if err := (&trust.Anchors{Certificates: certificates(t, old)}).Verify(shownBy(t, late), "c.example", c.now); err != nil {
		t.Errorf("the new authority is not endorsed by the old one: %v", err)
	}
	stranger := open(t, t.TempDir(), c)
	if err := stranger.Adopt(finished); err == nil || !strings.Contains(err.Error(), "copy the pki directory") {
		t.Errorf("a controller of another Weft adopted it: %v", err)
	}
	if err := (&trust.Anchors{Certificates: certificates(t, stranger.Bundle())}).Verify(shownBy(t, late), "c.example", c.now); err == nil {
		t.Error("who knows another authority trusts this one")
	}
}

func certificates(t *testing.T, text []byte) (all []*x509.Certificate) {
	t.Helper()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// A controller that dies in the middle of adopting a state has all keys it needs
// to do it again, whichever file was written last.
func TestAdoptingCanBeRepeated(t *testing.T) {
	c := &clock{time.Now()}
	dir := t.TempDir()
	ca := open(t, dir, c)
	introduced, err := ca.Introduce()
	if err != nil {
		t.Fatal(err)
	}
	states := []State{introduced, introduced.Switched(c.now), introduced.Switched(c.now).Finished(c.now)}
	for n, next := range states {
		before := copyDir(t, dir)
		adopt(t, ca, next)
		// Any file may be as before or as after: those that were written first
		// are the new ones.
		for _, order := range [][]string{{"ca-*.pem"}, {"ca-*.pem", "ca.pem"}} {
			half := copyDir(t, before)
			for _, pattern := range order {
				paths, _ := filepath.Glob(filepath.Join(dir, pattern))
				for _, path := range paths {
					data, err := os.ReadFile(path)
					if err == nil {
						err = os.WriteFile(filepath.Join(half, filepath.Base(path)), data, 0o600)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			again := open(t, half, c)
			adopt(t, again, next)
			if again.Hash() != next.Serving || again.Issuing() != next.Issuing {
				t.Errorf("step %d, after %v: %s serves, %s issues", n, order, again.Hash(), again.Issuing())
			}
		}
	}
}

// What only looks like an endorsement is none.
func TestOnlyTheAuthorityEndorses(t *testing.T) {
	c := &clock{time.Now()}
	good, bad := open(t, t.TempDir(), c), open(t, t.TempDir(), c)
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	// A certificate of the good authority that is no authority's.
	leaf := good.template(subject(api.Identity{Name: "x"}), time.Hour)
	leaf.DNSNames = []string{"x.example"}
	der, err := good.serving().sign(leaf, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := x509.ParseCertificate(der)
	// Used as if it were one.
	forged, err := newMember(key, plain).sign(func() *x509.Certificate {
		f := good.template(subject(api.Identity{Name: "y"}), time.Hour)
		f.DNSNames = []string{"c.example"}
		return f
	}(), key.Public())
	if err != nil {
		t.Fatal(err)
	}
	fake, _ := x509.ParseCertificate(forged)
	anchors := trust.Anchors{Certificates: certificates(t, good.Bundle())}
	chains := map[string][]*x509.Certificate{
		"a leaf that signs":        {fake, plain},
		"another authority":        shownBy(t, bad),
		"the known one beside":     append(shownBy(t, bad), certificates(t, good.Bundle())...),
		"nothing":                  nil,
		"endorsed by another only": append(shownBy(t, bad), plain),
	}
	for what, chain := range chains {
		if err := anchors.Verify(chain, "c.example", c.now); err == nil {
			t.Errorf("%s was trusted", what)
		}
	}
	if err := anchors.Verify(shownBy(t, good), "other.example", c.now); err == nil {
		t.Error("trusted under another name")
	}
	if err := anchors.Verify(shownBy(t, good), "c.example", c.now.Add(2*serverLife)); err == nil {
		t.Error("trusted when expired")
	}
}

// An authority from before there was rotation may not certify another one;
// those who know only that one still trust its successor.
func TestSuccessorOfAnAuthorityWithoutPathLength(t *testing.T) {
	c := &clock{time.Now()}
	dir := t.TempDir()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template := (&CA{now: c.Now}).template(pkix.Name{CommonName: "Weft CA", Organization: []string{"weft:ca"}}, caLife)
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := writePair(filepath.Join(dir, fileCA), key, der); err != nil {
		t.Fatal(err)
	}
	ca := open(t, dir, c)
	old := certificates(t, ca.Bundle())
	s, err := ca.Introduce()
	if err != nil {
		t.Fatal(err)
	}
	adopt(t, ca, s.Switched(c.now).Finished(c.now))
	sum := sha256.Sum256(old[0].Raw)
	for what, anchors := range map[string]trust.Anchors{"certificate": {Certificates: old}, "pin": {Pins: [][]byte{sum[:]}}} {
		if err := anchors.Verify(shownBy(t, ca), "c.example", c.now); err != nil {
			t.Errorf("who knows the old authority by its %s: %v", what, err)
		}
	}
}
