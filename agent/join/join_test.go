// SPDX-License-Identifier: Apache-2.0

package join_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/join"
	"github.com/weft-network/weft/api"
)

// authority is a CA.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{key: key}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.certificate = template
	a.certificate, err = x509.ParseCertificate(a.sign(t, template, &key.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a authority) sign(t *testing.T, template *x509.Certificate, key any) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (a authority) leaf(t *testing.T, name string, key any, ips ...net.IP) []byte {
	return a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, IPAddresses: ips,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, key)
}

func (a authority) token() string {
	sum := sha256.Sum256(a.certificate.Raw)
	return "weft1.id.secret." + hex.EncodeToString(sum[:])
}

func text(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// serve is a controller whose certificate is by one authority, for these
// addresses, and that answers with certificates of another.
func serve(t *testing.T, shown, answered authority, ips ...net.IP) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q api.JoinRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Name == "taken" {
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(api.Errorf(api.CodeConflict, "host taken exists"))
			return
		}
		block, _ := pem.Decode([]byte(q.CSR))
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil || csr.Subject.CommonName != q.Name || csr.CheckSignature() != nil {
			t.Errorf("certificate request: %v", err)
		}
		_ = json.NewEncoder(w).Encode(api.JoinResponse{
			Host: api.Ref{Name: q.Name}, Streams: []string{"127.0.0.1:1"},
			Certificate: text(answered.leaf(t, q.Name, csr.PublicKey)), CA: text(answered.certificate.Raw),
		})
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{
		Certificate: [][]byte{shown.leaf(t, "c", &key.PublicKey, ips...), shown.certificate.Raw}, PrivateKey: key,
	}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what the tests want
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

var here = net.IPv4(127, 0, 0, 1)

func TestJoinAndKeep(t *testing.T) {
	ca, dir := newAuthority(t), t.TempDir()
	if _, err := join.Load(dir); !errors.Is(err, join.ErrNotJoined) {
		t.Errorf("before joining: %v", err)
	}
	id, err := join.Join(t.Context(), join.Request{Name: "h1", Controller: serve(t, ca, ca, here), Token: ca.token() + "\n"})
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Save(dir); err != nil {
		t.Fatal(err)
	}
	kept, err := join.Load(dir)
	if err != nil || kept.Host.Name != "h1" || len(kept.Streams) != 1 {
		t.Errorf("kept: %+v %v", kept, err)
	}
	if c, err := kept.TLS("127.0.0.1"); err != nil || len(c.Certificates) != 1 {
		t.Errorf("TLS: %v", err)
	}
	files, _ := os.ReadDir(dir)
	for _, f := range files {
		if info, _ := f.Info(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s is readable by others: %v", f.Name(), info.Mode())
		}
	}
}

// A token pins its CA: nobody else's controller gets the token's secret.
func TestJoinRefuses(t *testing.T) {
	ca, evil := newAuthority(t), newAuthority(t)
	for name, c := range map[string]struct {
		request join.Request
		words   string
	}{
		"another CA":          {join.Request{Name: "h1", Controller: serve(t, evil, evil, here), Token: ca.token()}, "does not present the CA"},
		"another name":        {join.Request{Name: "h1", Controller: serve(t, ca, ca, net.IPv4(192, 0, 2, 1)), Token: ca.token()}, "192.0.2.1"},
		"another CA answered": {join.Request{Name: "h1", Controller: serve(t, ca, evil, here), Token: ca.token()}, "not the one the token names"},
		"a refusal":           {join.Request{Name: "taken", Controller: serve(t, ca, ca, here), Token: ca.token()}, "host taken exists"},
		"a cut token":         {join.Request{Name: "h1", Controller: "https://x", Token: ca.token()[:40]}, "was it cut"},
		"no token":            {join.Request{Name: "h1", Controller: "https://x", Token: "secret"}, "weft1.<id>"},
		"plain HTTP":          {join.Request{Name: "h1", Controller: "http://127.0.0.1:1", Token: ca.token()}, "https://"},
	} {
		if _, err := join.Join(t.Context(), c.request); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v, want %q", name, err, c.words)
		}
	}
}

// What asking again cannot help is said so, and an agent then ends.
func TestJoinSaysWhatIsHopeless(t *testing.T) {
	ca := newAuthority(t)
	for name, r := range map[string]join.Request{
		"a cut token": {Name: "h1", Controller: "https://x", Token: ca.token()[:40]},
		"no token":    {Name: "h1", Controller: "https://x", Token: "secret"},
		"plain HTTP":  {Name: "h1", Controller: "http://127.0.0.1:1", Token: ca.token()},
	} {
		var refused *api.Error
		if _, err := join.Join(t.Context(), r); !errors.As(err, &refused) || refused.Code != api.CodeInvalid {
			t.Errorf("%s: %v, want an api.Error of code %s", name, err, api.CodeInvalid)
		}
	}
}
