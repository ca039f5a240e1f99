// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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

	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/server/oidc"
)

// issuer is an OpenID Connect issuer with device codes. The person confirms a
// code when the program asks for the second time.
type issuer struct {
	t      *testing.T
	server *httptest.Server
	ca     string // file
	key    *ecdsa.PrivateKey

	mu      sync.Mutex
	asked   int
	refresh string        // the refresh token that is good
	made    int           // tokens
	life    time.Duration // of the next token
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, life: 30 * time.Second}
	var err error
	if i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	answer := func(pattern string, f func(*http.Request) (int, any)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			i.mu.Lock()
			defer i.mu.Unlock()
			status, body := f(r)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(body)
		})
	}
	answer("GET /.well-known/openid-configuration", func(*http.Request) (int, any) {
		u := i.server.URL
		return 200, map[string]any{"issuer": u, "jwks_uri": u + "/keys", "token_endpoint": u + "/token", "authorization_endpoint": u + "/auth", "device_authorization_endpoint": u + "/device", "id_token_signing_alg_values_supported": []string{"ES256"}}
	})
	answer("GET /keys", func(*http.Request) (int, any) {
		return 200, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}}
	})
	answer("POST /device", func(r *http.Request) (int, any) {
		if r.FormValue("client_id") != "weft" || !strings.Contains(r.FormValue("scope"), "openid") {
			return 400, map[string]any{"error": "invalid_client"}
		}
		return 200, map[string]any{"device_code": "d1", "user_code": "WDJB-MJHT", "verification_uri": "https://login.example/device", "expires_in": 60, "interval": 1}
	})
	answer("POST /token", i.token)
	i.server = httptest.NewTLSServer(mux)
	t.Cleanup(i.server.Close)
	i.ca = filepath.Join(t.TempDir(), "issuer.pem")
	if err := os.WriteFile(i.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return i
}

// token answers to a device code and to a refresh token.
func (i *issuer) token(r *http.Request) (int, any) {
	switch r.FormValue("grant_type") {
	case "urn:ietf:params:oauth:grant-type:device_code":
		if i.asked++; r.FormValue("device_code") != "d1" || i.asked < 2 {
			return 400, map[string]any{"error": "authorization_pending"}
		}
	case "refresh_token":
		if i.refresh == "" || r.FormValue("refresh_token") != i.refresh {
			return 400, map[string]any{"error": "invalid_grant"}
		}
	default:
		return 400, map[string]any{"error": "unsupported_grant_type"}
	}
	i.made++
	i.refresh = fmt.Sprint("refresh-", i.made) // each is good once
	return 200, map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 60, "refresh_token": i.refresh, "id_token": i.idToken(i.life)}
}

func (i *issuer) idToken(life time.Duration) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: "k"}}, nil)
	if err != nil {
		i.t.Error(err)
		return ""
	}
	claims := fmt.Sprintf(`{"iss":%q,"aud":"weft","sub":"alice","groups":["netops"],"exp":%d,"iat":%d}`, i.server.URL, time.Now().Add(life).Unix(), time.Now().Unix())
	object, err := signer.Sign([]byte(claims))
	if err != nil {
		i.t.Error(err)
		return ""
	}
	text, err := object.CompactSerialize()
	if err != nil {
		i.t.Error(err)
	}
	return text
}

func (i *issuer) people(t *testing.T) *oidc.People {
	t.Helper()
	file := filepath.Join(t.TempDir(), "oidc.yaml")
	text := fmt.Sprintf("issuers:\n- issuer: %s\n  audience: weft\n  caFile: %s\n  mappings: [{group: netops, role: admin}]\n", i.server.URL, i.ca)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := oidc.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return oidc.New(config, time.Now)
}

// TestRealLogin: a person logs in with a device code, works, is logged in still
// when the token has expired, and is told when the issuer ends it.
func TestRealLogin(t *testing.T) {
	i := newIssuer(t)
	r := startReal(t, func(r *real) { r.people = i.people(t) })
	text, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := client.ParseConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	mine, ca := filepath.Join(folder, "mine.yaml"), filepath.Join(folder, "ca.pem")
	if err := os.WriteFile(ca, []byte(admin.CA), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := run(t, mine, nil, "login"); code != 2 || !strings.Contains(errOut, "--to URL is required") {
		t.Errorf("login to nowhere: exit %d, %s", code, errOut)
	}
	out, errOut, code := run(t, mine, nil, "login", "--to", admin.Server, "--ca", ca, "--issuer-ca", i.ca, "--name", "work")
	if code != 0 || !strings.Contains(errOut, "WDJB-MJHT") || !strings.Contains(out, "as alice, admin of weft, context work") {
		t.Fatalf("login: exit %d, %s%s", code, out, errOut)
	}
	i.mu.Lock()
	i.life = time.Hour // the first token expires within a minute, and is replaced at once
	i.mu.Unlock()
	must(t, mine, "", "create", "network", "n")
	if out := must(t, mine, "", "whoami", "-o", "yaml"); !strings.Contains(out, "name: alice") {
		t.Errorf("whoami:\n%s", out)
	}
	if i.made != 2 { // nobody else asks now
		t.Errorf("%d tokens were got, want 2: one to log in, one when it was about to expire", i.made)
	}
	if out := must(t, mine, "", "config", "get-contexts"); !strings.Contains(out, "login") {
		t.Errorf("contexts:\n%s", out)
	}
	i.mu.Lock()
	i.refresh = ""
	i.mu.Unlock()
	expired(t, mine, i)
	if _, errOut, code := run(t, mine, nil, "whoami"); code != 1 || !strings.Contains(errOut, "log in again: weft login") {
		t.Errorf("a login that has ended: exit %d, %s", code, errOut)
	}
}

// expired puts an expired token into a context.
func expired(t *testing.T, file string, i *issuer) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	contexts, err := client.ParseContexts(text)
	if err != nil {
		t.Fatal(err)
	}
	config := contexts.Contexts["work"]
	changed := strings.Replace(string(text), config.Token, i.idToken(-time.Minute), 1)
	if changed == string(text) {
		t.Fatal("the context holds no token")
	}
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRealTokenFile: a token that something else keeps fresh is read each time.
func TestRealTokenFile(t *testing.T) {
	i := newIssuer(t)
	r := startReal(t, func(r *real) { r.people = i.people(t) })
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(i.idToken(-time.Minute))
	if _, errOut, code := run(t, r.config, nil, "login", "--token-file", file, "--name", "job"); code != 1 || !strings.Contains(errOut, "it expired at") {
		t.Errorf("login with an expired token: exit %d, %s", code, errOut)
	}
	write(i.idToken(time.Hour))
	must(t, r.config, "", "login", "--token-file", file, "--name", "job")
	if out := must(t, r.config, "", "--context", "job", "whoami", "-o", "yaml"); !strings.Contains(out, "name: alice") {
		t.Errorf("whoami:\n%s", out)
	}
	write("nonsense")
	if _, errOut, code := run(t, r.config, nil, "--context", "job", "whoami"); code != 1 || !strings.Contains(errOut, "bearer token") {
		t.Errorf("the file is not read again: exit %d, %s", code, errOut)
	}
	must(t, r.config, "", "whoami") // the context that was there is as before
}
