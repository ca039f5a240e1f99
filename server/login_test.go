// SPDX-License-Identifier: Apache-2.0

package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/server/oidc"
)

// provider is an OpenID Connect issuer: discovery, keys, and tokens signed by
// the newest of them.
type provider struct {
	t      *testing.T
	server *httptest.Server

	mu   sync.Mutex
	keys []*ecdsa.PrivateKey // that it publishes
	made int
	away bool
	asks int // for its keys
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{
			"issuer": p.server.URL, "jwks_uri": p.server.URL + "/keys", "authorization_endpoint": p.server.URL + "/auth", "token_endpoint": p.server.URL + "/token",
			"id_token_signing_alg_values_supported": []string{"ES256"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asks++
		var set jose.JSONWebKeySet
		for _, k := range p.keys {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), KeyID: keyID(k), Algorithm: "ES256", Use: "sig"})
		}
		json.NewEncoder(w).Encode(set)
	})
	p.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		away := p.away
		p.mu.Unlock()
		if away {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.server.Close)
	p.rotate()
	return p
}

func keyID(k *ecdsa.PrivateKey) string {
	der, _ := x509.MarshalPKIXPublicKey(k.Public())
	return base64.RawURLEncoding.EncodeToString(der[len(der)-9:])
}

// rotate makes a new key that alone is published, and signs from now on.
func (p *provider) rotate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = []*ecdsa.PrivateKey{freshKey(p.t)}
}

func freshKey(t testing.TB) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	return k
}

func (p *provider) leave(away bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = away
}

// token signs the usual claims with changes; nil removes one.
func (p *provider) token(changes map[string]any) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signed(p.keys[0], changes)
}

func (p *provider) signed(key *ecdsa.PrivateKey, changes map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: keyID(key)}}, nil)
	check(p.t, err)
	object, err := signer.Sign(p.claims(changes))
	check(p.t, err)
	text, err := object.CompactSerialize()
	check(p.t, err)
	return text
}

func (p *provider) claims(changes map[string]any) []byte {
	claims := map[string]any{
		"iss": p.server.URL, "aud": "weft", "sub": "u1", "email": "alice@login.example", "email_verified": true,
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	for k, v := range changes {
		if claims[k] = v; v == nil {
			delete(claims, k)
		}
	}
	text, err := json.Marshal(claims)
	check(p.t, err)
	return text
}

// unsigned is a token with a header of our own and a signature that is made up.
func (p *provider) unsigned(header string, sign func(input string) []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(header)) + "." + encode(p.claims(map[string]any{"groups": []string{"netops"}}))
	return input + "." + encode(sign(input))
}

const mappings = `
  - {group: netops, role: admin}
  - {group: cloud-admins, role: admin, orchestrator: blue}
  - {group: web, role: member, orchestrator: blue, projects: ["blue:t1"]}
  - {group: audit, role: reader, orchestrator: blue, domain: blue}
  - {user: carol@login.example, role: reader}
  - {group: ghosts, role: member, orchestrator: blue, projects: ["blue:gone"]}
  - {group: orphans, role: member, orchestrator: gone}
`

// accept makes the server of a world accept people of some issuers.
func (w *world) accept(issuers ...*provider) {
	w.t.Helper()
	text := "issuers:\n"
	for n, p := range issuers {
		ca := filepath.Join(w.t.TempDir(), fmt.Sprintf("ca%d.pem", n))
		check(w.t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw}), 0o600))
		text += fmt.Sprintf("- issuer: %s\n  audience: weft\n  caFile: %s\n  usernameClaim: email\n  usernamePrefix: \"example:\"\n  mappings:%s", p.server.URL, ca, mappings)
	}
	file := filepath.Join(w.t.TempDir(), "oidc.yaml")
	check(w.t, os.WriteFile(file, []byte(text), 0o600))
	config, err := oidc.Read(file)
	check(w.t, err)
	w.server.people = oidc.New(config, time.Now)
}

// logins are the rows of the table in doc/access.md.
func logins(w *world, p, away *provider) map[string]func() string {
	of := func(groups ...string) func() string {
		return func() string { return p.token(map[string]any{"groups": groups}) }
	}
	netops := map[string]any{"groups": []string{"netops"}}
	with := func(changes map[string]any) func() string {
		changes["groups"] = []string{"netops"}
		return func() string { return p.token(changes) }
	}
	return map[string]func() string{
		"of group netops":          of("netops"),
		"of group cloud-admins":    of("cloud-admins"),
		"of group web":             of("web"),
		"of groups web and netops": of("web", "netops"),
		"of group audit":           func() string { return p.token(map[string]any{"groups": "audit"}) },
		"of user carol":            func() string { return p.token(map[string]any{"email": "carol@login.example"}) },
		"of user carol, address not verified": func() string {
			return p.token(map[string]any{"email": "carol@login.example", "email_verified": false})
		},
		"of no group": of(),
		"of a group mapped to a project that is gone":       of("ghosts"),
		"of a group mapped to an orchestrator that is gone": of("orphans"),
		"that has expired":                              with(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}),
		"for another audience":                          with(map[string]any{"aud": "mail"}),
		"of another issuer":                             with(map[string]any{"iss": "https://elsewhere.example"}),
		"signed by a key of nobody":                     func() string { return p.signed(freshKey(w.t), netops) },
		"signed with no algorithm":                      func() string { return p.unsigned(`{"alg":"none"}`, func(string) []byte { return nil }) },
		"signed with the public key as a shared secret": func() string { return p.confused() },
		"signed by the key that came after a rotation":  func() string { p.rotate(); return p.token(netops) },
		"of an issuer that is away, first of all":       func() string { away.leave(true); return away.token(netops) },
		"of an issuer that is away, whose key is known": func() string { text := p.token(netops); p.leave(true); return text },
	}
}

// confused is a token whose "shared secret" is the public key, which everybody has.
func (p *provider) confused() string {
	der, err := x509.MarshalPKIXPublicKey(p.keys[0].Public())
	check(p.t, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), KeyID: keyID(p.keys[0])}}, nil)
	check(p.t, err)
	object, err := signer.Sign(p.claims(map[string]any{"groups": []string{"netops"}}))
	check(p.t, err)
	text, err := object.CompactSerialize()
	check(p.t, err)
	return text
}

// TestLoginTable reads the table of doc/access.md and tries each row, in its order.
func TestLoginTable(t *testing.T) {
	text, err := os.ReadFile("../doc/access.md")
	check(t, err)
	w := newWorld(t)
	w.tenants()
	p, away := newProvider(t), newProvider(t)
	w.accept(p, away)
	all := logins(w, p, away)
	_, table, found := strings.Cut(string(text), "| an ID token | is |\n|---|---|\n")
	if !found {
		t.Fatal("doc/access.md has no table of ID tokens")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	tried := 0
	for _, line := range strings.Split(table, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		what, want := strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1])
		make := all[what]
		if make == nil {
			t.Fatalf("doc/access.md has a row %q that no test is for", what)
		}
		tried++
		status, body := w.send(&tls.Config{RootCAs: w.ca.Pool()}, "Bearer "+make(), "GET", "/v1/whoami", "")
		got := fmt.Sprint(status)
		if status == http.StatusOK {
			var who api.Identity
			check(t, json.Unmarshal([]byte(body), &who))
			if got = fmt.Sprintf("%s of %s", who.Role, who.Orchestrator); who.Scope != nil {
				got += " for " + who.Scope.String()
			}
			if !strings.HasPrefix(who.Name, "example:") {
				t.Errorf("%s: named %q", what, who.Name)
			}
		}
		if got != want {
			t.Errorf("%s: got %s (%s), the table says %s", what, got, body, want)
		}
	}
	if tried != len(all) {
		t.Errorf("doc/access.md has %d rows, there are %d tests", tried, len(all))
	}
}

// An ID token is a credential like any other: it owns what it makes, and a
// scope holds; issuers are besieged by nobody; who logs in is told where.
func TestLoggedInPeopleWork(t *testing.T) {
	w := newWorld(t)
	w.tenants()
	p := newProvider(t)
	w.accept(p)
	c := w.connect(client.Config{Server: w.url, CA: string(w.ca.Bundle()), Token: p.token(map[string]any{"groups": []string{"web"}})})
	n, err := client.Create(t.Context(), c, inProject("blue:t1", "mine"))
	check(t, err)
	if n.Meta.Owner != "blue" {
		t.Errorf("owner %s", n.Meta.Owner)
	}
	_, err = client.Create(t.Context(), c, inProject("blue:t2", "other"))
	hasCode(t, "outside of the scope", err, api.CodeInvalid)
	if !w.audit.has("example:alice@login.example") {
		t.Error("the audit does not name the person")
	}
	for range 20 {
		status, body := w.send(&tls.Config{RootCAs: w.ca.Pool()}, "Bearer "+p.signed(freshKey(t), nil), "GET", "/v1/whoami", "")
		if status != 401 && status != 503 {
			t.Errorf("a made-up key: %d %s", status, body)
		}
	}
	if p.asks > 5 {
		t.Errorf("made-up keys made us ask the issuer %d times", p.asks)
	}
	if _, err := c.WhoAmI(t.Context()); err != nil {
		t.Errorf("whose key is known, meanwhile: %v", err)
	}
	status, body := w.send(&tls.Config{RootCAs: w.ca.Pool()}, "", "GET", "/v1/login", "")
	if status != 200 || !strings.Contains(body, p.server.URL) {
		t.Errorf("where to log in: %d %s", status, body)
	}
}

func TestOIDCConfigIsChecked(t *testing.T) {
	good := "issuers: [{issuer: 'https://a', audience: w, mappings: [{group: g, role: admin}]}]"
	for text, want := range map[string]string{
		good:          "",
		"issuers: []": "at least one",
		strings.Replace(good, "https", "http", 1):                             "https://host",
		strings.Replace(good, "audience: w, ", "", 1):                         "audience",
		strings.Replace(good, "role: admin", "role: king", 1):                 "not one of admin",
		strings.Replace(good, "group: g, ", "", 1):                            "a group or a user",
		strings.Replace(good, "role: admin", "role: admin, projects: [x]", 1): "domain:project",
		strings.Replace(good, "audience", "audiance", 1):                      "audiance",
	} {
		file := filepath.Join(t.TempDir(), "oidc.yaml")
		check(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := oidc.Read(file)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
