// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// The network in the underlay has addresses that nobody else has.
var (
	fabric4 = netip.MustParsePrefix("10.0.2.0/24")
	fabric6 = netip.MustParsePrefix("fd00:2::/64")
)

// wireFabric plugs two workloads into a network without encapsulation: f1 on
// h1, f2 on h2. Weft runs.
func wireFabric(ctx context.Context, l *topology.Lab) (Path, error) {
	c, err := l.Client()
	if err != nil {
		return Path{}, err
	}
	defer c.Close()
	network := project + ":fabric"
	ops := []api.Operation{
		created(api.KindNetwork, project, "fabric", func(o api.Object) {
			n := o.(*api.Network)
			n.Spec.MTU, n.Spec.Encapsulation = innerMTU, []string{api.EncapsulationNone}
		}),
		created(api.KindSubnet, network, "v4", func(o api.Object) { o.(*api.Subnet).Spec.CIDR = fabric4 }),
		created(api.KindSubnet, network, "v6", func(o api.Object) { o.(*api.Subnet).Spec.CIDR = fabric6 }),
	}
	for n := 1; n <= 2; n++ {
		ops = append(ops, fabricPort(network, n)...)
	}
	if _, err := c.Transaction(ctx, ops, false); err != nil {
		return Path{}, fmt.Errorf("create the benchmark's network in the underlay: %w", err)
	}
	for n := 1; n <= 2; n++ {
		name := fmt.Sprintf("f%d", n)
		if err := l.AddWorkload(name); err != nil {
			return Path{}, err
		}
		if err := l.Plug(ctx, n, project+":"+name, name); err != nil {
			return Path{}, err
		}
		// Tunnel addresses are IPv4, so IPv6 needs the fabric's own routes.
		_, via := topology.HostAddresses(3 - n)
		to := hostAt(fabric6, 11+3-n).Addr()
		if _, err := namespace.Run(l.Namespace(topology.HostName(n)), "ip", "route", "add", to.String(), "via", via.String(), "dev", topology.UplinkName); err != nil {
			return Path{}, err
		}
	}
	return Path{Group: Across, Name: "Weft, fabric mode", client: "f1", server: "f2", v4: hostAt(fabric4, 13).Addr(), v6: hostAt(fabric6, 13).Addr()}, nil
}

// fabricPort is the port of the workload on the n-th host, with its addresses.
func fabricPort(network string, n int) []api.Operation {
	name := fmt.Sprintf("f%d", n)
	port := project + ":" + name
	ops := []api.Operation{created(api.KindPort, project, name, func(o api.Object) { o.(*api.Port).Spec.Network = api.ParseRef(network) })}
	for family, p := range map[string]netip.Prefix{"v4": fabric4, "v6": fabric6} {
		ops = append(ops, created(api.KindAddress, network, name+"-"+family, func(o api.Object) {
			o.(*api.Address).Spec = api.AddressSpec{Subnet: api.ParseRef(network + ":" + family), IP: hostAt(p, 11+n).Addr(), Port: api.ParseRef(port)}
		}))
	}
	return append(ops, created(api.KindBinding, port, topology.HostName(n), func(o api.Object) {
		o.(*api.Binding).Spec = api.BindingSpec{Host: api.ParseRef(topology.HostName(n)), Active: true}
	}))
}

func created(kind api.Kind, parent, name string, fill func(api.Object)) api.Operation {
	o := api.New(kind)
	m := &o.Head().Meta
	m.Name, m.Parent = name, api.ParseRef(parent)
	fill(o)
	return api.Operation{Op: api.OpCreate, Object: o}
}
