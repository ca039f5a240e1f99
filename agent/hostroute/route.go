// SPDX-License-Identifier: Apache-2.0

package hostroute

import (
	"net/netip"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
)

const (
	// Protocol is our mark on a route: w in ASCII. Routing daemons have others
	// (/etc/iproute2/rt_protos).
	Protocol = 'w'
	// LocalMetric is lower than what routing daemons use: a workload that is here
	// is here, whatever a daemon still believes. RemoteMetric is higher: where
	// a daemon knows the way to another host's workload, it knows better.
	LocalMetric  = 5
	RemoteMetric = 5000
)

// Key names a route of the main table.
type Key struct {
	Prefix netip.Prefix
	Metric int
}

// Route is where it leads: to a neighbour, or without Via to the workloads here.
type Route struct {
	Device int
	Via    netip.Addr
	Source netip.Addr // of what the host itself sends; invalid: the kernel chooses
	MTU    int        // 0: the interface's
}

// Wanted are the routes that the host should have of ours. near is weft0; with
// remote also those to workloads of neighbours.
func Wanted(rows desired.Rows, attached map[string]datapath.Attachment, u datapath.Underlay, ways []datapath.Way, near int, remote bool) map[Key]Route {
	wanted := map[Key]Route{}
	for _, e := range datapath.Entries(rows, attached) {
		source := u.IPv4
		if e.Prefix.Addr().Is6() {
			source = u.IPv6
		}
		wanted[Key{e.Prefix, LocalMetric}] = Route{Device: near, Source: source, MTU: datapath.PortMTU(e.Port, e.At, rows, u)}
	}
	for key := range datapath.Virtuals(rows) {
		source := u.IPv4
		if key.Prefix.Addr().Is6() {
			source = u.IPv6
		}
		wanted[Key{key.Prefix, LocalMetric}] = Route{Device: near, Source: source, MTU: u.WorkloadMTU()}
	}
	if !remote {
		return wanted
	}
	for key, r := range rows.Routes {
		if !datapath.ThroughFabric(key, r, rows) || r.Routed {
			continue
		}
		if via, w := datapath.Neighbour(ways, rows.Endpoints[r.Host], key.Prefix); via.IsValid() {
			wanted[Key{key.Prefix, RemoteMetric}] = Route{Device: w.Device, Via: via}
		}
	}
	return wanted
}

// Wants tells whether the host has workloads of networks in the underlay, and
// whether any that it sees.
func Wants(rows desired.Rows) (fabric, visible bool) {
	for _, v := range rows.VRFs {
		fabric = fabric || v.Fabric
		visible = visible || v.Fabric || v.HostVisible
	}
	return fabric, visible
}
