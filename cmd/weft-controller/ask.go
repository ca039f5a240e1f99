// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

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

// askWith returns how another controller is asked for a table of a host: with
// mutual TLS, by a certificate of the authority that all controllers hold,
// which may only read. It is made anew each time, so it need not be kept.
func askWith(ca *pki.CA) func(ctx context.Context, addresses []string, host, table string) (api.Table, error) {
	who := api.Identity{Name: "weft-controller", Orchestrator: api.AdministratorsName, Role: api.RoleReader}
	return func(ctx context.Context, addresses []string, host, table string) (api.Table, error) {
		certificate, key, err := ca.IssueClient(who)
		if err != nil {
			return api.Table{}, err
		}
		for _, address := range addresses {
			c, made := client.New(client.Config{
				Server: "https://" + address, CA: string(ca.Bundle()), Certificate: string(certificate), Key: string(key),
			})
			if made != nil {
				return api.Table{}, made
			}
			t, asked := c.LocalHostTable(ctx, api.Ref{UUID: host}, table)
			c.Close()
			var answered *api.Error
			if asked == nil || ctx.Err() != nil || errors.As(asked, &answered) && answered.Code != api.CodeUnavailable {
				return t, asked
			}
			err = errors.Join(err, asked) // another address may be one that this machine reaches
		}
		return api.Table{}, err
	}
}
