// SPDX-License-Identifier: Apache-2.0

package plug

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"

	"github.com/weft-network/weft/api"
)

// Client asks a running agent.
type Client struct {
	http *http.Client
	path string
}

// NewClient returns a client of the agent with this run directory.
func NewClient(runDir string) *Client {
	path := filepath.Join(runDir, SocketName)
	return &Client{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
		DisableKeepAlives: true,
	}}}
}

// Plug connects a workload to a port.
func (c *Client) Plug(ctx context.Context, r Request) (a Answer, err error) {
	err = c.call(ctx, http.MethodPost, "plug", r, &a)
	return a, err
}

// Unplug disconnects a port.
func (c *Client) Unplug(ctx context.Context, port string) error {
	return c.call(ctx, http.MethodPost, "unplug", Request{Port: port}, nil)
}

// Ports lists the ports of the host.
func (c *Client) Ports(ctx context.Context) (l PortList, err error) {
	err = c.call(ctx, http.MethodGet, "ports", nil, &l)
	return l, err
}

func (c *Client) call(ctx context.Context, method, what string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://agent/v1/"+what, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	q.Header.Set("Content-Type", "application/json")
	r, err := c.http.Do(q)
	if err != nil {
		return fmt.Errorf("ask the agent at %s (is it running?): %w", c.path, err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		e := &api.Error{}
		if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(e); err != nil || e.Message == "" {
			return fmt.Errorf("ask the agent at %s to %s: status %s", c.path, what, r.Status)
		}
		return e
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return fmt.Errorf("read the agent's answer to %s: %w", what, err)
	}
	return nil
}
