// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/weft-network/weft/api"
)

// NextHop says in words where a route leads: "port NAME on HOST", "reserved for
// HOST" or "gateway".
func (r *Route) NextHop() string {
	if r.Gateway {
		return "gateway"
	}
	if r.Port.IsZero() {
		return "reserved for " + r.Host.String()
	}
	return "port " + r.Port.String() + " on " + r.Host.String()
}

// View returns the route as the API shows it.
func (r *Route) View(network api.Ref) api.Route {
	return api.Route{
		Network: network, Prefix: r.Prefix, NextHop: r.NextHop(), Port: r.Port, Host: r.Host, MAC: r.MAC,
		OriginKind: r.OriginKind, Origin: r.Origin, OriginNetwork: r.OriginNetwork, LeakedBy: r.LeakedBy,
	}
}

// String says in words what does not fit.
func (c *Conflict) String() string {
	side := func(s Claimant) string {
		if s.Policy.IsZero() {
			return s.Origin.String()
		}
		return s.Origin.String() + " through " + s.Policy.String()
	}
	return fmt.Sprintf("%s %s %v: %s wins over %s", c.Network, c.Reason, c.Prefix, side(c.Winner), side(c.Loser))
}

// String prints the tables: routes of every network, then ports with a
// binding, then conflicts. Tests compare it.
func (d *Derived) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, n := range d.Networks {
		for i := range n.Routes {
			r := &n.Routes[i]
			fmt.Fprintf(w, "route\t%s\t%d\t%v\t%s\t%s", n.Ref, n.VRF, r.Prefix, r.NextHop(), r.Origin)
			if r.Leaked() {
				fmt.Fprintf(w, "\tleaked by %s", r.LeakedBy)
			}
			fmt.Fprintln(w)
		}
	}
	w.Flush()
	for _, p := range d.Ports {
		fmt.Fprintf(w, "port\t%s\t%s\ton %s", p.Ref, p.MAC, p.Host)
		for _, a := range p.Addresses {
			fmt.Fprintf(w, "\t%v/%d", a.IP, a.PrefixLength)
			if a.Gateway.IsValid() {
				fmt.Fprintf(w, " via %v", a.Gateway)
			}
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	for i := range d.Conflicts {
		fmt.Fprintf(&b, "conflict %s\n", &d.Conflicts[i])
	}
	return b.String()
}
