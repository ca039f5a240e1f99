// SPDX-License-Identifier: Apache-2.0

package records

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter/rules"
)

// directory is what the rows say, while the loop stands still.
type directory struct {
	rows  desired.Rows
	ports map[int]desired.Port // by interface
	rules map[uint32][]datapath.Numbered

	interfaces map[string]int // by the port's UUID
}

// look runs call with the names of the moment. Each look makes the loop stop, so
// whoever has many questions asks them together.
func look(ctx context.Context, loop Host, call func(directory)) error {
	return loop.Do(ctx, func(c *host.Core) {
		d := directory{rows: c.Rows(), ports: map[int]desired.Port{}, rules: c.Rules(), interfaces: map[string]int{}}
		for id, p := range c.Attached() {
			if row, bound := d.rows.Ports[id]; bound {
				d.ports[p.Ifindex], d.interfaces[id] = row, p.Ifindex
			}
		}
		call(d)
	})
}

// at names the workload behind an interface.
func (d directory) at(ifindex int, address netip.AddrPort) api.Party {
	p := api.Party{Address: address.Addr(), Port: address.Port()}
	if row, bound := d.ports[ifindex]; bound {
		d.name(&p, row)
	}
	return p
}

func (d directory) name(p *api.Party, row desired.Port) {
	p.Workload, p.ID, p.Project = row.Name, row.ID, project(row.Name)
	p.Network, p.Identity, p.Tags = d.rows.VRFs[row.VRF].Name, identity(row.Identity), row.Tags
}

// identity is how an identity is written; of nobody it is not.
func identity(id rules.Identity) string {
	if id == rules.None {
		return ""
	}
	return fmt.Sprintf("%016x", uint64(id))
}

// rule writes down which rule has a number, and how it comes to the port.
func (d directory) rule(r *api.Record, number uint32) {
	for _, n := range d.rules[number] {
		r.Layer, r.RuleID = n.Layer.String(), n.Object
		if r.Rule != "" {
			r.Rule += " or "
		}
		r.Rule += n.Cause.String()
	}
}

// in names whoever has an address in a VRF. Only routes of full length say
// that; a shorter one says which way.
func (d directory) in(vrf uint32, address netip.AddrPort) api.Party {
	a := address.Addr()
	p := api.Party{Address: a, Port: address.Port()}
	route, known := d.rows.Routes[desired.RouteKey{VRF: vrf, Prefix: netip.PrefixFrom(a, a.BitLen())}]
	if !known {
		return p
	}
	if row, here := d.rows.Ports[route.Port]; here {
		d.name(&p, row)
		return p
	}
	p.Workload = cmp.Or(route.PortName, route.Origin)
	p.Project, p.Identity = project(p.Workload), identity(route.Workload)
	p.Tags = route.Tags
	p.Host = d.rows.Endpoints[route.Host].Name
	if n, known := d.rows.VRFs[route.VNI]; known {
		p.Network = n.Name
	}
	return p
}

// project is the first two parts of a fully qualified name.
func project(name string) string {
	parts := strings.Split(name, ":")
	if len(parts) < 3 {
		return ""
	}
	return parts[0] + ":" + parts[1]
}
