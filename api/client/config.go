// SPDX-License-Identifier: Apache-2.0

package client

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/trust"
)

// Config says where the API is and how to be known there. Its YAML form is the
// file the CLI reads and a controller writes for its administrators.
type Config struct {
	// Server is the base URL, https://host:port.
	Server string `json:"server"`
	// CA is the certificate authority of the server in PEM. Without it the
	// hash in the token pins the CA.
	CA string `json:"ca,omitempty"`
	// Certificate and Key are a client certificate in PEM.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
	// Token is used as a bearer token; with a certificate it is not needed.
	Token string `json:"token,omitempty"`
	// TokenFile holds the token in place of Token; it is read with each request.
	TokenFile string `json:"tokenFile,omitempty"`
	// Login keeps Token fresh.
	Login *Login `json:"login,omitempty"`
	// Project is where names without a project are looked up by people's tools.
	Project string `json:"project,omitempty"`
}

// ParseConfig reads the YAML (or JSON) form of a Config.
func ParseConfig(data []byte) (Config, error) {
	var c Config
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		return c, fmt.Errorf("read client configuration: %w", err)
	}
	return c, nil
}

// TokenPin returns the hash of the CA certificate that a token carries as its
// last part, in hex, or "" when it has none.
func TokenPin(token string) string {
	parts := strings.Split(strings.TrimSpace(token), ".")
	if len(parts) != 4 || parts[0] != "weft1" || len(parts[3]) != hex.EncodedLen(sha256.Size) {
		return ""
	}
	return strings.ToLower(parts[3])
}

// baseURL checks the address of the server.
func (c Config) baseURL() (*url.URL, error) {
	u, err := url.Parse(c.Server)
	switch {
	case c.Server == "":
		return nil, api.Errorf(api.CodeInvalid, "connect: no server is configured: set server to https://host:port")
	case err != nil:
		return nil, api.Errorf(api.CodeInvalid, "connect to %q: %v", c.Server, err)
	case u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "":
		return nil, api.Errorf(api.CodeInvalid, "connect to %q: want https://host:port without a path", c.Server)
	}
	return u, nil
}

// tlsConfig builds the trust in the server and our own certificate.
func (c Config) tlsConfig(host string) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS13}
	var known trust.Anchors
	if c.CA != "" {
		var err error
		if known, err = trust.Parse([]byte(c.CA)); err != nil {
			return nil, api.Errorf(api.CodeInvalid, "connect to %s: ca: %v", c.Server, err)
		}
	}
	if pin := TokenPin(c.Token); pin != "" {
		raw, err := hex.DecodeString(pin)
		if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "connect to %s: last part of the token is not a hash: %v", c.Server, err)
		}
		if c.CA == "" { // a CA that is given counts alone
			known.Pins = append(known.Pins, raw)
		}
	}
	if len(known.Certificates)+len(known.Pins) > 0 {
		known.Guard(t, host)
	}
	if c.Certificate != "" || c.Key != "" {
		pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Key))
		if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "connect to %s: certificate and key: %v", c.Server, err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
