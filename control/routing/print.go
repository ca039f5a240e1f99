// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// NextHop says in words where a route leads: "port NAME on HOST", with
// "via ADDRESS" before it where a static route names one, "reserved for HOST",
// "load-balancer NAME", "mapped to ADDRESS of port NAME on HOST", "shared by hosts for network NAME", "gateway", "router ADDRESS outside of NETWORK", "discard", or "outside ADDRESS by ENCAPSULATION label NUMBER".
func (r *Route) NextHop() string {
	switch {
	case r.Gateway:
		return "gateway"
	case r.External.Is():
		return "router " + r.External.Gateway.String() + " outside of " + r.OriginNetwork.String()
	case r.Discard:
		return "discard"
	case r.Mapped.Is():
		return r.Mapped.String() + " on " + r.Host.String()
	case r.Shared.Is():
		return r.Shared.String()
	case r.Balancer:
		return "load-balancer " + r.Origin.String()
	case r.Outside.Address.IsValid():
		return fmt.Sprintf("outside %v by %s label %d", r.Outside.Address, r.Outside.Encapsulation, r.Outside.Label)
	case r.Via.IsValid():
		return "via " + r.Via.String() + " port " + r.Port.String() + " on " + r.Host.String()
	}
	if r.Port.IsZero() {
		return "reserved for " + r.Host.String()
	}
	return "port " + r.Port.String() + " on " + r.Host.String()
}

// String says in words where a floating address leads.
func (m *Mapped) String() string {
	if m.Alias {
		return "alias of port " + m.Port.String()
	}
	return fmt.Sprintf("mapped to %v of port %s", m.Internal, m.Port)
}

// String says in words whose a shared address is.
func (s *Shared) String() string { return "shared by hosts for network " + s.Network.String() }

// String says in words what place a network has.
func (u Underlay) String() string {
	switch {
	case u.Refused != "":
		return "refused: " + u.Refused
	case u.Fabric:
		return "routed"
	}
	return "seen by hosts"
}

// String says in words what does not fit.
func (c *Conflict) String() string {
	side := func(s Claimant) string {
		if s.LeakedBy.IsZero() {
			return s.Origin.String()
		}
		return s.Origin.String() + " through " + s.LeakedBy.String()
	}
	return fmt.Sprintf("%s %s %v: %s wins over %s", c.Network, c.Reason, c.Prefix, side(c.Winner), side(c.Loser))
}

// String prints the tables: routes of every network, then ports with a
// binding, then conflicts. Tests compare it.
func (d *Derived) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, n := range d.Networks {
		printRoutes(w, "route", n, n.Routes)
		printRoutes(w, "equal", n, n.Equal)
	}
	w.Flush()
	for _, n := range d.Networks {
		for _, h := range n.connected {
			fmt.Fprintf(&b, "connected %s to VLAN %d of %s by %s\n", n.Ref, n.Segment.VLAN, n.Segment.Physical, h)
		}
		if n.Segment.Refused != "" {
			fmt.Fprintf(&b, "not connected %s: %s\n", n.Ref, n.Segment.Refused)
		}
	}
	for _, h := range d.Hosts {
		for _, n := range h.Connects {
			fmt.Fprintf(&b, "%s connects %s\n", h.Ref, n.Ref)
		}
	}
	for _, n := range d.Networks {
		if n.Underlay != (Underlay{}) {
			fmt.Fprintf(&b, "underlay %s %s\n", n.Ref, n.Underlay)
		}
	}
	for _, p := range d.Ports() {
		fmt.Fprintf(w, "port\t%s\t%s\ton %s", p.Ref, p.MAC, p.Host)
		for _, a := range p.Addresses {
			fmt.Fprintf(w, "\t%v/%d", a.IP, a.PrefixLength)
			if a.Gateway.IsValid() {
				fmt.Fprintf(w, " via %v", a.Gateway)
			}
		}
		for _, c := range p.Sources {
			fmt.Fprintf(w, "\tbehind it %v", c)
		}
		for _, c := range p.Pairs {
			fmt.Fprintf(w, "\tmay send from %v with %s", c.Range, c.MAC)
			if !c.Standby {
				fmt.Fprint(w, " shared")
			}
		}
		for _, a := range p.Announced {
			fmt.Fprintf(w, "\tasked for %v", a)
		}
		if p.VLAN != 0 {
			fmt.Fprintf(w, "\tVLAN %d of %s", p.VLAN, p.Trunk)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	for _, n := range d.Networks {
		for i := range n.Unresolved {
			fmt.Fprintf(&b, "unresolved %s %s\n", n.Ref, &n.Unresolved[i])
		}
	}
	for i := range d.Conflicts {
		fmt.Fprintf(&b, "conflict %s\n", &d.Conflicts[i])
	}
	return b.String()
}

func printRoutes(w io.Writer, word string, n *Network, routes []Route) {
	for i := range routes {
		r := &routes[i]
		fmt.Fprintf(w, "%s\t%s\t%d\t%v\t%s\t%s", word, n.Ref, n.VRF, r.Prefix, r.NextHop(), r.Origin)
		if r.Leaked() {
			fmt.Fprintf(w, "\tleaked by %s", r.LeakedBy)
		} else if r.Routed {
			fmt.Fprintf(w, "\trouted")
		}
		fmt.Fprintln(w)
	}
}
