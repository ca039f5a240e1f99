// SPDX-License-Identifier: Apache-2.0

package plug_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/reconcile"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// faults makes calls of the kernel fail at random, before they did anything or
// after they did all of it, which the caller cannot tell apart.
type faults struct {
	mu       sync.Mutex
	random   *rand.Rand
	on       bool
	calls    map[string]int // by name, while on
	injected map[string]int
}

func (f *faults) set(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = on
}

// draw says which half of a call fails, if any.
func (f *faults) draw(name string) (before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.on {
		f.calls[name]++
	}
	if !f.on || f.random.Float64() >= reconcile.FaultProbability {
		return nil, nil
	}
	f.injected[name]++
	err := fmt.Errorf("%s: %w: %w", name, reconcile.ErrInjected, unix.ENOBUFS)
	if f.random.IntN(2) == 0 {
		return err, nil
	}
	return nil, err
}

func (f *faults) try(name string, call func() error) error {
	before, after := f.draw(name)
	if before != nil {
		return before
	}
	if err := call(); err != nil {
		return err
	}
	return after
}

func ask[T any](f *faults, name string, call func() (T, error)) (answer T, err error) {
	err = f.try(name, func() (err error) {
		answer, err = call()
		return err
	})
	return answer, err
}

// brittle is the kernel's interfaces with faults in every call. It embeds nothing,
// so that a call that is new has faults, too, or does not compile.
type brittle struct {
	kernel link.Kernel
	f      *faults
}

func (b brittle) LinkByName(name string) (netlink.Link, error) {
	return ask(b.f, "find by name", func() (netlink.Link, error) { return b.kernel.LinkByName(name) })
}

func (b brittle) LinkByIndex(index int) (netlink.Link, error) {
	return ask(b.f, "find by index", func() (netlink.Link, error) { return b.kernel.LinkByIndex(index) })
}

func (b brittle) LinkList() ([]netlink.Link, error) {
	return ask(b.f, "list links", b.kernel.LinkList)
}

func (b brittle) LinkAdd(l netlink.Link) error {
	return b.f.try("add link", func() error { return b.kernel.LinkAdd(l) })
}

func (b brittle) LinkDel(l netlink.Link) error {
	return b.f.try("delete link", func() error { return b.kernel.LinkDel(l) })
}

func (b brittle) LinkSetUp(l netlink.Link) error {
	return b.f.try("up", func() error { return b.kernel.LinkSetUp(l) })
}

func (b brittle) LinkSetDown(l netlink.Link) error {
	return b.f.try("down", func() error { return b.kernel.LinkSetDown(l) })
}

func (b brittle) LinkSetGroup(l netlink.Link, group int) error {
	return b.f.try("group", func() error { return b.kernel.LinkSetGroup(l, group) })
}

func (b brittle) LinkSetARPOff(l netlink.Link) error {
	return b.f.try("arp off", func() error { return b.kernel.LinkSetARPOff(l) })
}

func (b brittle) LinkSetAlias(l netlink.Link, name string) error {
	return b.f.try("alias", func() error { return b.kernel.LinkSetAlias(l, name) })
}

func (b brittle) LinkSetMTU(l netlink.Link, mtu int) error {
	return b.f.try("mtu", func() error { return b.kernel.LinkSetMTU(l, mtu) })
}

func (b brittle) LinkSetHardwareAddr(l netlink.Link, address net.HardwareAddr) error {
	return b.f.try("mac", func() error { return b.kernel.LinkSetHardwareAddr(l, address) })
}

func (b brittle) LinkSetIP6AddrGenMode(l netlink.Link, mode int) error {
	return b.f.try("address generation", func() error { return b.kernel.LinkSetIP6AddrGenMode(l, mode) })
}

func (b brittle) AddrList(l netlink.Link, family int) ([]netlink.Addr, error) {
	return ask(b.f, "list addresses", func() ([]netlink.Addr, error) { return b.kernel.AddrList(l, family) })
}

func (b brittle) AddrReplace(l netlink.Link, a *netlink.Addr) error {
	return b.f.try("address", func() error { return b.kernel.AddrReplace(l, a) })
}

func (b brittle) AddrDel(l netlink.Link, a *netlink.Addr) error {
	return b.f.try("remove address", func() error { return b.kernel.AddrDel(l, a) })
}

func (b brittle) RouteDel(r *netlink.Route) error {
	return b.f.try("remove route", func() error { return b.kernel.RouteDel(r) })
}

func (b brittle) RouteList(l netlink.Link, family int) ([]netlink.Route, error) {
	return ask(b.f, "list routes", func() ([]netlink.Route, error) { return b.kernel.RouteList(l, family) })
}

func (b brittle) RouteReplace(r *netlink.Route) error {
	return b.f.try("route", func() error { return b.kernel.RouteReplace(r) })
}

func (b brittle) RouteGetWithOptions(to net.IP, options *netlink.RouteGetOptions) ([]netlink.Route, error) {
	return ask(b.f, "find route", func() ([]netlink.Route, error) { return b.kernel.RouteGetWithOptions(to, options) })
}

func (b brittle) NeighList(link, family int) ([]netlink.Neigh, error) {
	return ask(b.f, "list neighbours", func() ([]netlink.Neigh, error) { return b.kernel.NeighList(link, family) })
}

func (b brittle) Close() { b.kernel.Close() }

// brittleTable is one of the packet path's tables with faults in every call.
type brittleTable[K comparable, V any] struct {
	table datapath.Table[K, V]
	name  string
	f     *faults
}

func (b brittleTable[K, V]) Put(k K, v V) error {
	return b.f.try("put "+b.name, func() error { return b.table.Put(k, v) })
}

func (b brittleTable[K, V]) Delete(k K) error {
	return b.f.try("delete "+b.name, func() error { return b.table.Delete(k) })
}

func (b brittleTable[K, V]) All() (map[K]V, error) {
	return ask(b.f, "list "+b.name, b.table.All)
}

func brittleKernel(k datapath.Kernel, f *faults) datapath.Kernel {
	return datapath.Kernel{
		TunnelSources: brittleTable[vrouter.TunnelSource, struct{}]{k.TunnelSources, "tunnel sources", f},
		VNIs:          brittleTable[uint32, vrouter.VNI]{k.VNIs, "vnis", f},
		PortAddresses: brittleTable[vrouter.PortAddress, struct{}]{k.PortAddresses, "port addresses", f},
		PortPrefixes:  brittleTable[vrouter.PortPrefix, vrouter.Permission]{k.PortPrefixes, "port prefixes", f},
		SubPorts:      brittleTable[vrouter.SubPort, int]{k.SubPorts, "sub-ports", f},
		Limits:        brittleTable[int, vrouter.Limits]{k.Limits, "limits", f},
		Services:      brittleTable[vrouter.Service, uint16]{k.Services, "services", f},
		Aliases:       brittleTable[uint32, int]{k.Aliases, "aliases", f},
		MACs:          brittleTable[vrouter.MACKey, uint32]{k.MACs, "macs", f},
		Floods:        brittleTable[uint32, vrouter.Flood]{k.Floods, "floods", f},
		Receivers:     brittleTable[vrouter.Receiver, uint32]{k.Receivers, "receivers", f},
		Ports:         brittleTable[int, vrouter.Port]{k.Ports, "ports", f},
		NextHops:      brittleTable[uint32, vrouter.NextHop]{k.NextHops, "next hops", f},
		Groups:        brittleTable[uint32, vrouter.Group]{k.Groups, "groups", f},
		Routes:        brittleTable[vrouter.RouteKey, vrouter.Route]{k.Routes, "routes", f},
		Gaps:          brittleTable[vrouter.RouteKey, struct{}]{k.Gaps, "gaps", f},
		PolicyTables:  brittlePolicy(k.PolicyTables, f),
		BalanceTables: brittleBalance(k.BalanceTables, f),
		Forget:        func(i int) error { return f.try("forget", func() error { return k.Forget(i) }) },

		WaitForPackets: func() error { return f.try("wait for packets", k.WaitForPackets) },
	}
}

func brittlePolicy(k datapath.PolicyTables, f *faults) datapath.PolicyTables {
	return datapath.PolicyTables{
		PortPolicies:   brittleTable[int, vrouter.PortPolicy]{k.PortPolicies, "port policies", f},
		Rulesets:       brittleTable[uint32, vrouter.RulesetValue]{k.Rulesets, "rulesets", f},
		RemoteClasses:  brittleTable[vrouter.RemoteClassKey, vrouter.RemoteClass]{k.RemoteClasses, "remote classes", f},
		RemoteRanges:   brittleTable[vrouter.RemoteRangeKey, vrouter.RemoteClass]{k.RemoteRanges, "remote ranges", f},
		ServiceClasses: brittleTable[vrouter.ServiceClassKey, vrouter.ServiceClass]{k.ServiceClasses, "service classes", f},
		ServicePages:   brittleTable[vrouter.ServicePageKey, vrouter.ServicePage]{k.ServicePages, "service pages", f},
		Verdicts:       brittleTable[vrouter.VerdictKey, rules.Verdict]{k.Verdicts, "verdicts", f},
		Managed:        brittleTable[vrouter.RouteKey, struct{}]{k.Managed, "managed subnets", f},
	}
}

func brittleBalance(k datapath.BalanceTables, f *faults) datapath.BalanceTables {
	return datapath.BalanceTables{
		Listeners:   brittleTable[vrouter.ListenerKey, vrouter.Listener]{k.Listeners, "listeners", f},
		Choices:     brittleTable[uint32, vrouter.Choice]{k.Choices, "choices", f},
		PoolMembers: brittleTable[vrouter.PoolMemberKey, vrouter.PoolMember]{k.PoolMembers, "pool members", f},
		Mappings:    brittleTable[uint64, vrouter.Mapping]{k.Mappings, "mappings", f},
		Floats:      brittleTable[vrouter.FloatKey, vrouter.Float]{k.Floats, "floats", f},
		RenewVRF:    func(vrf uint32) error { return f.try("renew VRF", func() error { return k.RenewVRF(vrf) }) },
	}
}

// brittleHooks is the attaching of programs with faults in every call.
type brittleHooks struct {
	path *vrouter.Datapath
	f    *faults
}

func (b brittleHooks) Attached() ([]int, error) { return ask(b.f, "list hooks", b.path.Attached) }

func (b brittleHooks) Attach(i int) error {
	return b.f.try("attach", func() error { return b.path.AttachPort(i) })
}

func (b brittleHooks) Detach(i int) error {
	return b.f.try("detach", func() error { return b.path.Detach(i) })
}
