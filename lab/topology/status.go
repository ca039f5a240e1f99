// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// statusTimeout bounds how long the API may take to tell what hosts reported;
// they report together, about once a second.
const statusTimeout = 15 * time.Second

// WaitConnected waits until the API says that all hosts are connected.
func (l *Lab) WaitConnected(ctx context.Context) error {
	return l.waitStatus(ctx, "hosts that are not connected", func(ctx context.Context, c *client.Client) ([]string, error) {
		hosts, err := client.ListOf[*api.Host](ctx, c, client.ListOptions{})
		var missing []string
		for _, h := range hosts.Items {
			if !h.Status.Connected {
				missing = append(missing, h.Meta.Name)
			}
		}
		return missing, err
	})
}

// WaitPortsUp waits until the API says that all ports are up.
func (l *Lab) WaitPortsUp(ctx context.Context) error {
	return l.waitStatus(ctx, "ports that are not up", func(ctx context.Context, c *client.Client) ([]string, error) {
		ports, err := client.ListOf[*api.Port](ctx, c, client.ListOptions{})
		var missing []string
		for _, p := range ports.Items {
			if p.Status.State != api.PortUp {
				missing = append(missing, fmt.Sprintf("%s (%s) %s", p.Meta.FQName, p.Status.State, p.Status.Message))
			}
		}
		return missing, err
	})
}

// waitStatus waits until nothing is missing.
func (l *Lab) waitStatus(ctx context.Context, what string, missing func(context.Context, *client.Client) ([]string, error)) error {
	c, err := l.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	var last []string
	for {
		now, err := missing(ctx, c)
		if err == nil && len(now) == 0 {
			return nil
		}
		if err == nil {
			last = now
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API still tells of %s: %s (%v)\n%s", what, strings.Join(last, ", "), err, l.Tail(Controller))
		case <-time.After(poll):
		}
	}
}
