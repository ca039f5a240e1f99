// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"net/http"
	"os"
	"strings"

	"github.com/weft-network/weft/api"
)

// Login is how a context keeps a token of an OpenID Connect issuer fresh.
type Login struct {
	Issuer   string `json:"issuer"`
	ClientID string `json:"clientID"`
	// CA is the authority of the issuer's own certificate in PEM; the system's when absent.
	CA string `json:"ca,omitempty"`
	// RefreshToken gets the next token when Config.Token has expired.
	RefreshToken string `json:"refreshToken,omitempty"`
}

// LoginIssuers reads where people log in.
func (c *Client) LoginIssuers(ctx context.Context) ([]api.LoginIssuer, error) {
	var answer struct {
		Issuers []api.LoginIssuer `json:"issuers"`
	}
	err := c.do(ctx, call{what: "ask where to log in", method: http.MethodGet, path: []string{"login"}}, &answer)
	return answer.Issuers, err
}

// bearer returns the token to send: that of the file, as it is now, if there is one.
func (c *Client) bearer() (string, error) {
	if c.tokenFile == "" {
		return c.token, nil
	}
	data, err := os.ReadFile(c.tokenFile)
	if err != nil {
		return "", api.Errorf(api.CodeUnauthenticated, "read the token: %v", err)
	}
	return strings.TrimSpace(string(data)), nil
}
