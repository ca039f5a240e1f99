// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"

	"github.com/weft-network/weft/api"
)

// Authority reads how the certificate authorities are.
func (c *Client) Authority(ctx context.Context) (api.AuthorityState, error) {
	var state api.AuthorityState
	err := c.do(ctx, call{what: "show the certificate authorities", method: http.MethodGet, path: []string{"authority"}}, &state)
	return state, err
}

// AuthorityCertificates reads whom to trust, in PEM.
func (c *Client) AuthorityCertificates(ctx context.Context) (string, error) {
	var answer struct {
		CA string `json:"ca"`
	}
	err := c.do(ctx, call{what: "read whom to trust", method: http.MethodGet, path: []string{"authority", "certificates"}}, &answer)
	return answer.CA, err
}

// RotateAuthority introduces a new certificate authority.
func (c *Client) RotateAuthority(ctx context.Context) (api.AuthorityState, error) {
	var state api.AuthorityState
	err := c.do(ctx, call{what: "rotate the certificate authority", method: http.MethodPost, path: []string{"authority", "rotate"}}, &state)
	return state, err
}

// FinishAuthority drops the one that was replaced; force locks out who has not
// renewed.
func (c *Client) FinishAuthority(ctx context.Context, force bool) (api.AuthorityState, error) {
	var state api.AuthorityState
	err := c.do(ctx, call{what: "finish the rotation of the certificate authority", method: http.MethodPost,
		path: []string{"authority", "finish"}, body: api.AuthorityFinish{Force: force}}, &state)
	return state, err
}

// RenewCertificate gets a new certificate for a new key, for the identity of
// the certificate that the client has, and returns both in PEM. The client
// itself goes on with the old one.
func (c *Client) RenewCertificate(ctx context.Context) (reply api.CertificateReply, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return reply, "", api.Errorf(api.CodeInternal, "renew certificate: make a key: %v", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return reply, "", api.Errorf(api.CodeInternal, "renew certificate: %v", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return reply, "", api.Errorf(api.CodeInternal, "renew certificate: %v", err)
	}
	body := api.CertificateRequest{CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))}
	err = c.do(ctx, call{what: "renew certificate", method: http.MethodPost, path: []string{"certificates"}, body: body}, &reply)
	return reply, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), err
}
