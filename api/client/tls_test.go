// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api/client"
)

// authority is a CA of a test.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{key, cert}
}

// issue makes a certificate for a name or an address.
func (a authority) issue(t *testing.T, name string) (tls.Certificate, string, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}, certPEM, keyPEM
}

func (a authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func (a authority) token() string {
	sum := sha256.Sum256(a.cert.Raw)
	return "weft1.id.secret." + hex.EncodeToString(sum[:])
}

// TestTrust: whom the client trusts, by CA file and by the pin in a token.
func TestTrust(t *testing.T) {
	ours, other := newAuthority(t), newAuthority(t)
	right, clientCert, clientKey := ours.issue(t, "127.0.0.1")
	elsewhere, _, _ := ours.issue(t, "elsewhere.example")
	foreign, _, _ := other.issue(t, "127.0.0.1")
	// A server of another CA that shows our CA's certificate without being signed by it.
	liar := tls.Certificate{Certificate: [][]byte{foreign.Certificate[0], ours.cert.Raw}, PrivateKey: foreign.PrivateKey}
	bare := tls.Certificate{Certificate: right.Certificate[:1], PrivateKey: right.PrivateKey}
	for _, x := range []struct {
		name   string
		server tls.Certificate
		config client.Config
		fails  string
	}{
		{"CA", right, client.Config{CA: ours.pem()}, ""},
		{"other CA", foreign, client.Config{CA: ours.pem()}, "cannot trust"},
		{"pin", right, client.Config{Token: ours.token()}, ""},
		{"pin with white space", right, client.Config{Token: "\n" + ours.token() + "\n"}, ""},
		{"pin of another CA", foreign, client.Config{Token: ours.token()}, "does not present the CA"},
		{"pin, CA shown but not used", liar, client.Config{Token: ours.token()}, "cannot trust"},
		{"pin, CA not shown", bare, client.Config{Token: ours.token()}, "does not present the CA"},
		{"pin, another host", elsewhere, client.Config{Token: ours.token()}, "cannot trust"},
		{"neither", right, client.Config{Token: "weft1.id.secret."}, "cannot trust"},
		{"client certificate", right, client.Config{CA: ours.pem(), Certificate: clientCert, Key: clientKey}, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if x.config.Certificate != "" && len(r.TLS.PeerCertificates) == 0 {
					t.Error("no client certificate came")
				}
				io.WriteString(w, `{"name":"n"}`)
			}))
			server.TLS = &tls.Config{Certificates: []tls.Certificate{x.server}, ClientAuth: tls.RequestClientCert}
			server.Config.ErrorLog = quiet
			server.StartTLS()
			defer server.Close()
			x.config.Server = server.URL
			c, err := client.New(x.config)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, err = c.WhoAmI(t.Context())
			if (err == nil) != (x.fails == "") || err != nil && !strings.Contains(err.Error(), x.fails) {
				t.Errorf("want failure %q, got %v", x.fails, err)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	c, err := client.ParseConfig([]byte("server: https://h:1\ntoken: t\nproject: d:p\n"))
	if err != nil || c.Server != "https://h:1" || c.Token != "t" || c.Project != "d:p" {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := client.ParseConfig([]byte("sever: https://h:1\n")); err == nil {
		t.Error("a misspelt field is not refused")
	}
	for _, bad := range []client.Config{
		{}, {Server: "http://h:1"}, {Server: "h:1"}, {Server: "https://h:1/v1"}, {Server: "https://h:1", CA: "x"}, {Server: "https://h:1", Certificate: "x"},
	} {
		if _, err := client.New(bad); err == nil {
			t.Errorf("%+v is not refused", bad)
		}
	}
}
