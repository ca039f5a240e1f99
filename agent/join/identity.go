// SPDX-License-Identifier: Apache-2.0

package join

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
)

// ErrNotJoined says that the state directory holds no identity.
var ErrNotJoined = errors.New("this host has not joined yet")

// Identity is what a host keeps from joining.
type Identity struct {
	Host    api.Ref  `json:"host"`
	Streams []string `json:"streams"`

	key, certificate, ca []byte // PEM
}

// The files of an identity. identity.json is written last and read first: it
// is there only if the others are.
const (
	keyFile         = "host.key"
	certificateFile = "host.crt"
	caFile          = "ca.crt"
	identityFile    = "identity.json"
)

// Save writes the identity to a directory; files are readable by their owner only.
func (id Identity) Save(dir string) error {
	data, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{keyFile, id.key}, {certificateFile, id.certificate}, {caFile, id.ca}, {identityFile, append(data, '\n')}} {
		if err := desired.WriteFile(filepath.Join(dir, f.name), f.data); err != nil {
			return err
		}
	}
	return nil
}

// Load reads the identity from a directory; ErrNotJoined if there is none.
func Load(dir string) (id Identity, err error) {
	data, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, os.ErrNotExist) {
		return id, ErrNotJoined
	}
	if err == nil {
		err = json.Unmarshal(data, &id)
	}
	for _, f := range []struct {
		name string
		into *[]byte
	}{{keyFile, &id.key}, {certificateFile, &id.certificate}, {caFile, &id.ca}} {
		if err == nil {
			*f.into, err = os.ReadFile(filepath.Join(dir, f.name))
		}
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read the host's identity from %s: %w", dir, err)
	}
	return id, nil
}

// TLS returns the configuration of connections to controllers.
func (id Identity) TLS() (*tls.Config, error) {
	pair, err := tls.X509KeyPair(id.certificate, id.key)
	if err != nil {
		return nil, fmt.Errorf("read the host's certificate: %w", err)
	}
	ca, err := certificate(id.ca)
	if err != nil {
		return nil, fmt.Errorf("read the CA's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: roots}, nil
}

func certificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("not a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}
