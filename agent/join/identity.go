// SPDX-License-Identifier: Apache-2.0

package join

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/trust"
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
// is there only if the others are. The key's file also holds its certificate, so
// that a renewal replaces both or none; host.crt is there for people.
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
	}{{keyFile, append(bytes.Clone(id.key), id.certificate...)}, {certificateFile, id.certificate}, {caFile, id.ca}, {identityFile, append(data, '\n')}} {
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
	if block := pemBlock(id.key, "CERTIFICATE"); block != nil { // absent in what older agents wrote
		id.certificate = pem.EncodeToMemory(block)
	}
	if block := pemBlock(id.key, "PRIVATE KEY"); block != nil {
		id.key = pem.EncodeToMemory(block)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read the host's identity from %s: %w", dir, err)
	}
	return id, nil
}

// TLS returns the configuration of connections to a controller at a host, name
// or address.
func (id Identity) TLS(host string) (*tls.Config, error) {
	pair, err := tls.X509KeyPair(id.certificate, id.key)
	if err != nil {
		return nil, fmt.Errorf("read the host's certificate: %w", err)
	}
	known, err := trust.Parse(id.ca)
	if err != nil {
		return nil, fmt.Errorf("read whom the host trusts: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}}
	known.Guard(c, host)
	return c, nil
}

// pemBlock returns the first block of a type, or nil.
func pemBlock(data []byte, kind string) *pem.Block {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == kind {
			return block
		}
	}
	return nil
}
