// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/netip"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/api/hoststream"
)

// hostEnd is a host that has joined: its certificate, and the version it has.
type hostEnd struct {
	config  *tls.Config
	streams []string
	version *hoststream.Version
}

// join makes a host known to a controller.
func join(t *testing.T, admin *client.Client, name string) *hostEnd {
	t.Helper()
	return joinAt(t, admin, name, "192.0.2.1")
}

// joinAt is join with a tunnel address.
func joinAt(t *testing.T, admin *client.Client, name, address string) *hostEnd {
	t.Helper()
	token, err := admin.CreateToken(t.Context(), api.TokenRequest{Name: name, Role: api.RoleJoin, Host: name})
	check(t, err)
	c, err := client.New(client.Config{Server: admin.Server(), Token: token.Secret})
	check(t, err)
	defer c.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	check(t, err)
	joined, err := c.Join(t.Context(), api.JoinRequest{
		Name: name, TunnelAddresses: []netip.Addr{netip.MustParseAddr(address)},
		CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})),
	})
	check(t, err)
	block, _ := pem.Decode([]byte(joined.Certificate))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(joined.CA))
	return &hostEnd{
		config:  &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}}},
		streams: joined.Streams,
	}
}

// connect opens a stream and returns the version of the first delta, which the
// host then has.
func (h *hostEnd) connect(t *testing.T) *hoststream.Version {
	t.Helper()
	connection, err := grpc.NewClient(h.streams[0], grpc.WithTransportCredentials(credentials.NewTLS(h.config)))
	check(t, err)
	defer connection.Close()
	stream, err := hoststream.NewHostStreamClient(connection).Sync(t.Context())
	check(t, err)
	hello := &hoststream.Hello{Version: h.version}
	check(t, stream.Send(&hoststream.HostMessage{Body: &hoststream.HostMessage_Hello{Hello: hello}}))
	m, err := stream.Recv()
	check(t, err)
	h.version = m.GetDelta().Version
	return h.version
}
