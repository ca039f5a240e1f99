// SPDX-License-Identifier: Apache-2.0

// Package join makes a host known to the controllers once and keeps what it
// got: a certified key, whom to trust, and where the streams are.
package join

import (
	"bytes"
	"context"
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
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/trust"
)

const (
	// timeout bounds one request to join.
	timeout = 10 * time.Second
	// maxAnswer bounds the answer: two certificates and some names.
	maxAnswer = 1 << 20
)

// Request says who joins where.
type Request struct {
	Name       string
	Controller string // https://HOST:PORT
	Token      string // weft1.<id>.<secret>.<hash of the CA>
	Addresses  []netip.Addr
	MTU        int
	// Encapsulations are what the host can do.
	Encapsulations []string
}

// Join makes a key, has it certified, and returns the identity to keep. The
// key never leaves the host. An error that asking again cannot help is an
// *api.Error.
func Join(ctx context.Context, r Request) (Identity, error) {
	pin, err := pinOf(r.Token)
	if err != nil {
		return Identity{}, fmt.Errorf("join as host %s: %w", r.Name, err)
	}
	keyPEM, csr, err := newKey(r.Name)
	if err != nil {
		return Identity{}, err
	}
	answer, shown, err := ask(ctx, r, pin, csr)
	if err != nil {
		return Identity{}, fmt.Errorf("join as host %s at %s: %w", r.Name, r.Controller, err)
	}
	if len(answer.Streams) == 0 {
		return Identity{}, fmt.Errorf("join as host %s at %s: the controller names no stream address: check its --stream-advertise", r.Name, r.Controller)
	}
	// Who answers is the one the token names, or its successor; whom it tells us
	// to trust must be what we would have trusted it by.
	told, err := trust.Parse([]byte(answer.CA))
	if err == nil {
		err = shown.by(told)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("join as host %s: the answer's CA is not the one the token names, nor its successor: %w", r.Name, err)
	}
	id := Identity{Host: answer.Host, Streams: answer.Streams, key: keyPEM, certificate: []byte(answer.Certificate), ca: []byte(answer.CA)}
	if _, err := id.TLS("localhost"); err != nil {
		return Identity{}, fmt.Errorf("join as host %s: %w", r.Name, err)
	}
	return id, nil
}

// newKey makes a key, in PEM, and the request to have it certified.
func newKey(name string) (keyPEM []byte, csr string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("make the host's key: %w", err)
	}
	keyPEM, csr, err = encode(key, name)
	if err != nil {
		return nil, "", fmt.Errorf("make the host's certificate request: %w", err)
	}
	return keyPEM, csr, nil
}

func encode(key *ecdsa.PrivateKey, name string) (keyPEM []byte, csr string, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, "", err
	}
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}
	request, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, "", err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})), nil
}

// pin is the SHA-256 of the CA's certificate, the last part of a token.
type pin []byte

func pinOf(token string) (pin, error) {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 4 || parts[0] != "weft1" {
		return nil, api.Errorf(api.CodeInvalid, "the token is not of the form weft1.<id>.<secret>.<hash>: make one with `weft token create --role join`")
	}
	sum, err := hex.DecodeString(parts[3])
	if err != nil || len(sum) != sha256.Size {
		return nil, api.Errorf(api.CodeInvalid, "the last part of the token is not a SHA-256 hash: was it cut?")
	}
	return sum, nil
}

// shown is the chain of certificates a controller showed, for a name.
type shown struct {
	chain []*x509.Certificate
	name  string
}

func (s shown) by(a trust.Anchors) error { return a.Verify(s.chain, s.name, time.Now()) }

func ask(ctx context.Context, r Request, p pin, csr string) (answer api.JoinResponse, seen shown, err error) {
	body, err := json.Marshal(api.JoinRequest{Name: r.Name, TunnelAddresses: r.Addresses, UnderlayMTU: r.MTU, Encapsulations: r.Encapsulations, CSR: csr})
	if err != nil {
		return answer, seen, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(r.Controller, "/")+"/v1/hosts/join", bytes.NewReader(body))
	if err != nil {
		return answer, seen, err
	}
	if q.URL.Scheme != "https" {
		return answer, seen, api.Errorf(api.CodeInvalid, "the controller's URL must begin with https://")
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Authorization", "Bearer "+strings.TrimSpace(r.Token))
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	trust.Anchors{Pins: [][]byte{p}}.Guard(config, q.URL.Hostname())
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
	reply, err := c.Do(q)
	if err != nil {
		return answer, seen, err
	}
	defer reply.Body.Close()
	data, err := io.ReadAll(io.LimitReader(reply.Body, maxAnswer))
	if err != nil {
		return answer, seen, err
	}
	seen = shown{reply.TLS.PeerCertificates, q.URL.Hostname()}
	if reply.StatusCode/100 != 2 {
		e := &api.Error{}
		if json.Unmarshal(data, e) == nil && e.Message != "" {
			return answer, seen, e
		}
		return answer, seen, fmt.Errorf("status %s", reply.Status)
	}
	err = json.Unmarshal(data, &answer)
	return answer, seen, err
}
