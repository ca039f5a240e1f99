// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/server/pki"
)

// peerAddresses are where other controllers reach this one's API: each has the
// listeners' addresses, or where those are all of the machine's, its names.
func peerAddresses(o options, listeners []net.Listener) []string {
	names := o.advertise
	if host, err := os.Hostname(); err == nil && len(names) == 0 {
		names = []string{host}
	}
	var all []string
	for _, l := range listeners {
		tcp, ok := l.Addr().(*net.TCPAddr)
		if !ok || !tcp.IP.IsUnspecified() {
			all = append(all, l.Addr().String())
			continue
		}
		for _, n := range names {
			all = append(all, net.JoinHostPort(n, fmt.Sprint(tcp.Port)))
		}
	}
	return all
}

// addressTimeout is how long one of a controller's addresses is tried, while
// there are others.
const addressTimeout = 5 * time.Second

// asker asks other controllers with mutual TLS, by a certificate of the authority that
// all controllers hold. It is made anew for each question, so it need not be
// kept, and is of whichever authority certifies clients at the moment.
type asker struct{ ca *pki.CA }

// table asks for a table of a host, as somebody who may only read; captured frames
// are shown to administrators alone, and it is one who asked this controller.
func (c asker) table(ctx context.Context, addresses []string, host, table string) (api.Table, error) {
	role := api.RoleReader
	if name, _, _ := strings.Cut(table, "?"); name == api.HostTableCapture {
		role = api.RoleAdmin
	}
	return ask(ctx, c.ca, role, addresses, func(ctx context.Context, at *client.Client) (api.Table, error) {
		return at.LocalHostTable(ctx, api.Ref{UUID: host}, table)
	})
}

// audit asks for entries of the audit, which only administrators may.
func (c asker) audit(ctx context.Context, addresses []string, q api.AuditQuery) (api.Audit, error) {
	return ask(ctx, c.ca, api.RoleAdmin, addresses, func(ctx context.Context, at *client.Client) (api.Audit, error) {
		return at.Audit(ctx, q)
	})
}

// ask puts a question to a controller at the first of its addresses that answers.
func ask[T any](ctx context.Context, ca *pki.CA, role api.Role, addresses []string, question func(context.Context, *client.Client) (T, error)) (answer T, err error) {
	certificate, key, err := ca.IssueBrief(api.Identity{Name: "weft-controller", Orchestrator: api.AdministratorsName, Role: role})
	if err != nil {
		return answer, err
	}
	for n, address := range addresses {
		at, made := client.New(client.Config{
			Server: "https://" + address, CA: string(ca.Bundle()), Certificate: string(certificate), Key: string(key),
		})
		if made != nil {
			return answer, made
		}
		one, cancel := ctx, context.CancelFunc(func() {})
		if n < len(addresses)-1 {
			one, cancel = context.WithTimeout(ctx, addressTimeout)
		}
		found, asked := question(one, at)
		cancel()
		at.Close()
		var answered *api.Error
		unheard := errors.As(asked, &answered) && (answered.Code == api.CodeUnavailable || answered.Code == api.CodeTimeout)
		if asked == nil || ctx.Err() != nil || !unheard {
			return found, asked
		}
		err = errors.Join(err, asked) // another address may be one that this machine reaches
	}
	return answer, err
}
