// SPDX-License-Identifier: Apache-2.0

package attachment

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/weft-network/weft/api"
)

// maxAnswer bounds an answer; the longest is what was collected on a full host.
const maxAnswer = 4 << 20

// Client asks the agent of the host.
type Client struct {
	http *http.Client
	path string
}

// NewClient returns a client of the agent that listens on this socket.
func NewClient(socket string) *Client {
	return &Client{path: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}}
}

// Attach connects a container's interface to a port.
func (c *Client) Attach(ctx context.Context, r Request) (a Answer, err error) {
	err = c.call(ctx, http.MethodPost, "attach", r, &a)
	return a, err
}

// Detach undoes Attach. What is not attached is success.
func (c *Client) Detach(ctx context.Context, k Key) error {
	return c.call(ctx, http.MethodPost, "detach", k, nil)
}

// Check looks whether an attached interface is as it was made.
func (c *Client) Check(ctx context.Context, k Key) error {
	return c.call(ctx, http.MethodPost, "check", k, nil)
}

// Collect takes away what is attached and not valid any more.
func (c *Client) Collect(ctx context.Context, q Collection) (done Collected, err error) {
	err = c.call(ctx, http.MethodPost, "collect", q, &done)
	return done, err
}

// Ready asks whether workloads can be attached.
func (c *Client) Ready(ctx context.Context) (r Readiness, err error) {
	err = c.call(ctx, http.MethodGet, "ready", nil, &r)
	return r, err
}

// call returns an *api.Error, of code unavailable where there is no agent.
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
		return api.Errorf(api.CodeUnavailable, "ask the agent at %s to %s: %v: see that weft-agent runs on this host", c.path, what, err)
	}
	defer r.Body.Close()
	answer := json.NewDecoder(io.LimitReader(r.Body, maxAnswer))
	if r.StatusCode != http.StatusOK {
		e := &api.Error{}
		if err := answer.Decode(e); err != nil || e.Message == "" {
			return api.Errorf(api.CodeUnavailable, "ask the agent at %s to %s: it answers %s: upgrade it", c.path, what, r.Status)
		}
		return e
	}
	if into == nil {
		return nil
	}
	if err := answer.Decode(into); err != nil {
		return fmt.Errorf("read the agent's answer to %s: %w", what, err)
	}
	return nil
}
