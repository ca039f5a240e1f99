// SPDX-License-Identifier: Apache-2.0

// Package views answers questions about what control computed and what became
// of it: the routes of a network, a host's live tables, and why.
package views

import (
	"context"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/stream"
)

// Hosts is what views need of the host streams; *stream.Server is one.
type Hosts interface {
	Plan() *placement.Plan
	// Newest is Plan with a channel that is closed when there is a newer one.
	Newest() (*placement.Plan, <-chan struct{})
	Host(uuid string) stream.HostState
	Rows(host string, rows []placement.Row) []stream.RowState
	Table(ctx context.Context, host, table string) (api.Table, error)
}

// Views answers from the newest plan and the sessions of this controller.
type Views struct{ hosts Hosts }

// New makes views.
func New(h Hosts) *Views { return &Views{h} }

func (v *Views) plan() (*placement.Plan, error) {
	if p := v.hosts.Plan(); p != nil {
		return p, nil
	}
	return nil, api.Errorf(api.CodeUnavailable, "read derived tables: this controller has not read the store yet; try again")
}

// planPatience bounds the wait for what follows from the objects that are seen:
// that takes milliseconds, and seconds where this controller has just started.
const planPatience = 10 * time.Second

// changing is a snapshot that knows which revision made it; only those are planned.
type changing interface{ Changed() int64 }

// planOf waits for a plan that is not older than what an asker sees.
func (v *Views) planOf(ctx context.Context, seen api.Snapshot) (*placement.Plan, error) {
	want := seen.Revision()
	if s, knows := seen.(changing); knows {
		want = s.Changed()
	}
	timer := time.NewTimer(planPatience)
	defer timer.Stop()
	for {
		p, newer := v.hosts.Newest()
		if p == nil {
			return v.plan()
		}
		if p.Version.Revision >= want {
			return p, nil
		}
		late := func() error {
			return api.Errorf(api.CodeTimeout, "read derived tables: this controller has derived them from revision %d so far, and the objects are at %d; try again, or ask another controller", p.Version.Revision, want)
		}
		select {
		case <-newer:
		case <-timer.C:
			return nil, late()
		case <-ctx.Done():
			return nil, late()
		}
	}
}

// Routes returns the routes of a network at a revision; with a host those that
// this host holds, which are none unless it has a port of the network.
func (v *Views) Routes(_ context.Context, network, host string) (int64, []api.Route, error) {
	p, err := v.plan()
	if err != nil {
		return 0, nil, err
	}
	n := p.Derived.Network(network)
	if n == nil {
		return 0, nil, api.Errorf(api.CodeNotFound, "read routes: network %s has no VRF here (revision %d)", network, p.Version.Revision).About(api.KindNetwork, network, "")
	}
	if host != "" && p.Derived.Host(host) == nil {
		return 0, nil, api.Errorf(api.CodeNotFound, "read routes: host %s does not exist (revision %d)", host, p.Version.Revision).About(api.KindHost, host, "")
	}
	routes := []api.Route{}
	if host == "" || p.Holds(host, network) {
		routes = routesOf(p.Derived, p.Balance, n, host)
	}
	return p.Version.Revision, routes, nil
}

// HostTable returns a table of a host as it is now. The error has the code
// unavailable if the host is not connected to this controller.
// With local, a host that has its stream at another controller is not asked.
func (v *Views) HostTable(ctx context.Context, host, table string, local bool) (api.Table, error) {
	if local {
		ctx = stream.OnlyHere(ctx)
	}
	return v.hosts.Table(ctx, host, table)
}
