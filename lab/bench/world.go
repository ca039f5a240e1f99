// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// Group is a set of paths that compare with each other.
type Group string

// The groups; the first path of each is its baseline.
const (
	Across Group = "across hosts"
	Local  Group = "on one host"
	Taps   Group = "across hosts, from a tap"
)

// Path is one way from a client to a server.
type Path struct {
	Group  Group
	Name   string
	client string // names of namespaces, without the run's prefix
	server string
	v4, v6 netip.Addr // of the server
}

func (p Path) address(family Family) netip.Addr {
	if family == IPv6 {
		return p.v6
	}
	return p.v4
}

// The host-to-host path has addresses of its own on the uplinks, with a route
// whose MTU is that of the workloads; the tunnels use the others.
var (
	plain4 = netip.MustParsePrefix("198.51.100.0/24")
	plain6 = netip.MustParsePrefix("2001:db8:1::/64")
	// Workloads of the kernel's bridge and of Weft may have equal addresses:
	// they are in different networks.
	inner4 = netip.MustParsePrefix("10.0.1.0/24")
	inner6 = netip.MustParsePrefix("fd00:1::/64")
)

// hostAt returns the n-th address of a range with the range's length.
func hostAt(p netip.Prefix, n int) netip.Prefix {
	a := p.Addr().AsSlice()
	a[len(a)-1] = byte(n)
	ip, _ := netip.AddrFromSlice(a)
	return netip.PrefixFrom(ip, p.Bits())
}

// wirePlain makes the host-to-host path.
func wirePlain(l *topology.Lab) (Path, error) {
	for n := 1; n <= 2; n++ {
		ns := l.Namespace(topology.HostName(n))
		for _, p := range []netip.Prefix{hostAt(plain4, n), hostAt(plain6, n)} {
			if err := namespace.AddAddress(ns, topology.UplinkName, p); err != nil {
				return Path{}, err
			}
			_, err := namespace.Run(ns, "ip", "route", "change", p.Masked().String(), "dev", topology.UplinkName,
				"proto", "kernel", "metric", metric(p), "mtu", strconv.Itoa(innerMTU))
			if err != nil {
				return Path{}, err
			}
		}
	}
	return Path{
		Group: Across, Name: "host to host", client: "h1", server: "h2",
		v4: hostAt(plain4, 2).Addr(), v6: hostAt(plain6, 2).Addr(),
	}, nil
}

// metric is the one that the kernel gave to the route of an interface's own
// range; a change must name it.
func metric(p netip.Prefix) string {
	if p.Addr().Is6() {
		return "256"
	}
	return "0"
}

// bridgeVXLANPort keeps the baseline's tunnel apart from Weft's 4789.
const bridgeVXLANPort = "8472"

// wireBridge makes what a simple overlay does: a bridge on each host with the
// workloads and a vxlan device in it. Three workloads: k1, k2 on h1, k3 on h2.
func wireBridge(l *topology.Lab) (across, local Path, err error) {
	for n := 1; n <= 2; n++ {
		ns := l.Namespace(topology.HostName(n))
		if err := namespace.Bridge(ns, "bridge", innerMTU); err != nil {
			return across, local, err
		}
		own, _ := topology.HostAddresses(n)
		other, _ := topology.HostAddresses(3 - n)
		for _, argv := range []string{
			"ip link add overlay mtu " + strconv.Itoa(innerMTU) + " type vxlan id 100 dstport " + bridgeVXLANPort +
				" dev " + topology.UplinkName + " local " + own.String() + " remote " + other.String(),
			"ip link set overlay master bridge up",
		} {
			if _, err := namespace.Run(ns, strings.Fields(argv)...); err != nil {
				return across, local, err
			}
		}
	}
	for i, host := range []string{"h1", "h1", "h2"} {
		name := fmt.Sprintf("k%d", i+1)
		if err := namespace.Create(l.Namespace(name)); err != nil {
			return across, local, err
		}
		err := namespace.Veth(
			namespace.End{Namespace: l.Namespace(host), Name: name, Bridge: "bridge"},
			namespace.End{Namespace: l.Namespace(name), Name: "eth0", Addresses: []netip.Prefix{
				hostAt(inner4, 11+i), hostAt(inner6, 11+i),
			}}, innerMTU)
		if err != nil {
			return across, local, err
		}
	}
	across = Path{Group: Across, Name: "kernel bridge + vxlan", client: "k1", server: "k3"}
	local = Path{Group: Local, Name: "kernel veth + bridge", client: "k1", server: "k2"}
	across.v4, across.v6 = hostAt(inner4, 13).Addr(), hostAt(inner6, 13).Addr()
	local.v4, local.v6 = hostAt(inner4, 12).Addr(), hostAt(inner6, 12).Addr()
	return across, local, nil
}

// wireWeft starts Weft and plugs three workloads into one network: w1, w2 on
// h1, w3 on h2.
func wireWeft(ctx context.Context, l *topology.Lab) (across, local Path, err error) {
	for _, step := range []func(context.Context) error{l.StartController, l.JoinToken, l.StartAgents} {
		if err := step(ctx); err != nil {
			return across, local, err
		}
	}
	c, err := l.Client()
	if err != nil {
		return across, local, err
	}
	defer c.Close()
	if err := describe(ctx, c); err != nil {
		return across, local, err
	}
	for i, host := range []int{1, 1, 2} {
		name := fmt.Sprintf("w%d", i+1)
		if err := l.AddWorkload(name); err != nil {
			return across, local, err
		}
		if err := l.Plug(ctx, host, project+":"+name, name); err != nil {
			return across, local, err
		}
	}
	across = Path{Group: Across, Name: "Weft", client: "w1", server: "w3"}
	local = Path{Group: Local, Name: "Weft", client: "w1", server: "w2"}
	across.v4, across.v6 = hostAt(inner4, 13).Addr(), hostAt(inner6, 13).Addr()
	local.v4, local.v6 = hostAt(inner4, 12).Addr(), hostAt(inner6, 12).Addr()
	return across, local, nil
}

const project = "bench:bench"

// describe creates the network, and a port with two addresses for each workload.
func describe(ctx context.Context, c *client.Client) error {
	var ops []api.Operation
	add := func(kind api.Kind, parent, name string, fill func(api.Object)) {
		o := api.New(kind)
		m := &o.Head().Meta
		m.Name = name
		if parent != "" {
			m.Parent = api.ParseRef(parent)
		}
		if fill != nil {
			fill(o)
		}
		ops = append(ops, api.Operation{Op: api.OpCreate, Object: o})
	}
	network := project + ":net"
	add(api.KindDomain, "", "bench", nil)
	add(api.KindProject, "bench", "bench", nil)
	add(api.KindNetwork, project, "net", func(o api.Object) { o.(*api.Network).Spec.MTU = innerMTU })
	add(api.KindSubnet, network, "v4", func(o api.Object) { o.(*api.Subnet).Spec.CIDR = inner4 })
	add(api.KindSubnet, network, "v6", func(o api.Object) { o.(*api.Subnet).Spec.CIDR = inner6 })
	for i, host := range []string{"h1", "h1", "h2"} {
		name := fmt.Sprintf("w%d", i+1)
		port := project + ":" + name
		add(api.KindPort, project, name, func(o api.Object) { o.(*api.Port).Spec.Network = api.ParseRef(network) })
		for family, p := range map[string]netip.Prefix{"v4": inner4, "v6": inner6} {
			add(api.KindAddress, network, name+"-"+family, func(o api.Object) {
				o.(*api.Address).Spec = api.AddressSpec{
					Subnet: api.ParseRef(network + ":" + family), IP: hostAt(p, 11+i).Addr(), Port: api.ParseRef(port),
				}
			})
		}
		add(api.KindBinding, port, host, func(o api.Object) {
			o.(*api.Binding).Spec = api.BindingSpec{Host: api.ParseRef(host), Active: true}
		})
	}
	if _, err := c.Transaction(ctx, ops, false); err != nil {
		return fmt.Errorf("create the benchmark's network: %w", err)
	}
	return nil
}

// steer lets one CPU receive for every veth of the run. It needs the sysfs of
// the namespace, which is what `ip netns exec` mounts.
func steer(l *topology.Lab) error {
	names, err := namespace.List(l.Namespace(""))
	if err != nil {
		return err
	}
	const script = `for d in /sys/class/net/*; do
		n=${d##*/}
		ip -o link show dev "$n" type veth 2>/dev/null | grep -q . || continue
		for q in "$d"/queues/rx-*/rps_cpus; do echo ` + rpsCPUs + ` > "$q" || exit 1; done
	done`
	for _, ns := range names {
		if _, err := namespace.Run("", "ip", "netns", "exec", ns, "sh", "-c", script); err != nil {
			return fmt.Errorf("set rps_cpus in %s: %w", ns, err)
		}
	}
	return nil
}
