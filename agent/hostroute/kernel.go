// SPDX-License-Identifier: Apache-2.0

package hostroute

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/link"
)

// kernel is this network namespace's routing.
type kernel struct{ nl *netlink.Handle }

func openKernel() (kernel, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return kernel{}, fmt.Errorf("open netlink socket: %w", err)
	}
	return kernel{h}, nil
}

// defaultRules are how many rules every host has: local, main and default, of
// which IPv6 has no default.
var defaultRules = map[int]bool{unix.RT_TABLE_LOCAL: true, unix.RT_TABLE_MAIN: true, unix.RT_TABLE_DEFAULT: true}

func (k kernel) read() (table, error) {
	t := table{devices: map[int]device{}, own: map[netip.Addr]int{}}
	links, err := k.nl.LinkList()
	if err != nil {
		return t, fmt.Errorf("list interfaces: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		t.devices[a.Index] = device{index: a.Index, mtu: a.MTU, ours: link.Ours(l), ethernet: a.EncapType == "ether"}
	}
	addresses, err := k.nl.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return t, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		own, ok := netip.AddrFromSlice(a.IP)
		if ok && a.Scope == int(netlink.SCOPE_UNIVERSE) && !t.devices[a.LinkIndex].ours && own.Unmap().IsGlobalUnicast() {
			t.own[own.Unmap()] = a.LinkIndex
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := k.nl.RouteList(nil, family)
		if err != nil {
			return t, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			r.Family = family
			t.routes = append(t.routes, r)
		}
		rules, err := k.nl.RuleList(family)
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) { // a kernel without has none
			return t, fmt.Errorf("list routing rules: %w", err)
		}
		for _, r := range rules {
			t.policies = t.policies || !defaultRules[r.Table] || r.Src != nil || r.Dst != nil || r.Mark != 0 || r.IifName != "" || r.OifName != ""
		}
	}
	return t, nil
}

// ours picks our routes, and which keys others have.
func ours(routes []netlink.Route) (mine map[Key]Route, others map[Key]bool) {
	mine, others = map[Key]Route{}, map[Key]bool{}
	for _, r := range routes {
		key := Key{prefixOf(r), r.Priority}
		if r.Protocol != Protocol {
			others[key] = true
			continue
		}
		via, _ := netip.AddrFromSlice(r.Gw)
		source, _ := netip.AddrFromSlice(r.Src)
		mine[key] = Route{Device: r.LinkIndex, Via: via.Unmap(), Source: source.Unmap(), MTU: r.MTU}
	}
	return mine, others
}

func message(key Key, r Route) *netlink.Route {
	p := key.Prefix
	m := &netlink.Route{
		Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, LinkIndex: r.Device,
		Protocol: Protocol, Priority: key.Metric, MTU: r.MTU, Table: unix.RT_TABLE_MAIN,
	}
	if r.Via.IsValid() {
		m.Gw = r.Via.AsSlice()
	} else if p.Addr().Is4() {
		m.Scope = netlink.SCOPE_LINK
	}
	if r.Source.IsValid() {
		m.Src = r.Source.AsSlice()
	}
	return m
}

func (k kernel) put(key Key, r Route) error {
	if err := k.nl.RouteReplace(message(key, r)); err != nil {
		return fmt.Errorf("set route to %v: %w", key.Prefix, err)
	}
	return nil
}

func (k kernel) remove(key Key, r Route) error {
	err := k.nl.RouteDel(message(key, r))
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove route to %v: %w", key.Prefix, err)
	}
	return nil
}

func (k kernel) near() (int, error) {
	l, err := k.nl.LinkByName(link.HostPathName)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", link.HostPathName, err)
	}
	return l.Attrs().Index, nil
}

// widen lets the host path carry what the underlay does.
func (k kernel) widen(mtu int) error {
	for _, name := range []string{link.PathEndName, link.HostPathName} {
		l, err := k.nl.LinkByName(name)
		if err == nil && l.Attrs().MTU < mtu {
			err = k.nl.LinkSetMTU(l, mtu)
		}
		if err != nil {
			return fmt.Errorf("set MTU %d of %s: %w", mtu, name, err)
		}
	}
	return nil
}

// settings are those of weft0, and of nothing else: what workloads send through
// the host's own routing is forwarded, whichever way an answer would take.
var settings = [][2]string{
	{"ipv4/conf/" + link.HostPathName + "/forwarding", "1"},
	{"ipv4/conf/" + link.HostPathName + "/rp_filter", "2"}, // loose, also where all interfaces are strict
	{"ipv6/conf/" + link.HostPathName + "/forwarding", "1"},
}

func allowForwarding() error {
	var bad error
	for _, s := range settings {
		path := filepath.Join("/proc/sys/net", s[0])
		have, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(s[0], "ipv6") {
			continue // a host without IPv6
		}
		if err == nil && strings.TrimSpace(string(have)) != s[1] {
			err = os.WriteFile(path, []byte(s[1]), 0o644)
		}
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("set %s to %s: %w", path, s[1], err))
		}
	}
	return bad
}

// Remove takes all our routes away, for uninstallation.
func Remove() error {
	k, err := openKernel()
	if err != nil {
		return err
	}
	defer k.nl.Close()
	t, err := k.read()
	if err != nil {
		return err
	}
	mine, _ := ours(t.routes)
	var bad error
	for key, r := range mine {
		bad = errors.Join(bad, k.remove(key, r))
	}
	return bad
}
