// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// served is a host with one workload on an interface that somebody else made,
// which has no address yet.
type served struct {
	*machine
	workload string // namespace
}

// servedMAC and its EUI-64 address in fd00:a::/64, as SLAAC makes it.
var (
	servedMAC  = []byte{2, 0, 0, 0, 0, 0x2a}
	servedSelf = netip.MustParseAddr("fd00:a::ff:fe00:2a")
	servedIPv4 = netip.MustParseAddr("10.0.0.42")
	servedIPv6 = netip.MustParseAddr("fd00:a::42")
)

const servedPort = "00000000-0000-4000-8000-00000000f042"

// serve starts a host whose workload has these IPv6 addresses under a mode.
func serve(t *testing.T, mode api.AddressMode, six netip.Addr, before ...func(*machine)) served {
	t.Helper()
	bin := binary(t)
	ns := namespace(t, "sh")
	m := &machine{t: t, ns: ns, binary: bin, dir: t.TempDir(), controller: newController(t, ns)}
	t.Cleanup(func() { _ = syscall.Unmount(m.dir+"/bpf", syscall.MNT_DETACH) })
	inside(t, ns, func() error { // an underlay that leads nowhere
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "u0"
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "u1"}); err != nil {
			return err
		}
		l, err := netlink.LinkByName("u0")
		if err != nil {
			return err
		}
		p := tunnels4[0]
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}}); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
	for _, f := range before {
		f(m)
	}
	m.start(tunnels4[0])
	m.agent.waitReady(t)
	m.controller.set(servedRows(mode, six))
	m.controller.settled()
	s := served{m, namespace(t, "sw")}
	bare(t, ns, "tap0", s.workload, "eth0")
	if _, err := plug.NewClient(m.dir+"/run").Plug(context.Background(), plug.Request{Port: servedPort, Place: link.Place{Interface: "tap0"}, TimeoutSeconds: 10}); err != nil {
		t.Fatal(err)
	}
	return s
}

func servedRows(mode api.AddressMode, six netip.Addr) map[string]*hoststream.Row {
	rows := map[string]*hoststream.Row{
		desired.VRFRow(7): {Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: 7, Vni: 7, NetworkName: "d:p:served"}}},
		desired.SubnetRow(desired.SubnetKey{VRF: 7, ID: "s4"}): {Body: &hoststream.Row_Subnet{Subnet: &hoststream.Subnet{
			Vrf: 7, Subnet: "s4", SubnetName: "d:p:served:s4", PrefixAddress: []byte{10, 0, 0, 0}, PrefixLength: 24, Gateway: []byte{10, 0, 0, 1},
			Dhcp: true, LeaseSeconds: 7200, SearchDomains: []string{"more.example"},
			HostRoutes: []*hoststream.HostRoute{{PrefixAddress: []byte{192, 168, 0, 0}, PrefixLength: 16, NextHop: []byte{10, 0, 0, 9}}},
			Options:    []*hoststream.DhcpOption{{Code: 67, Value: []byte("pxelinux.0")}, {Code: 42, Value: []byte{192, 0, 2, 123}}},
		}}},
		desired.SubnetRow(desired.SubnetKey{VRF: 7, ID: "s6"}): {Body: &hoststream.Row_Subnet{Subnet: &hoststream.Subnet{
			Vrf: 7, Subnet: "s6", SubnetName: "d:p:served:s6", PrefixAddress: netip.MustParseAddr("fd00:a::").AsSlice(), PrefixLength: 64,
			Gateway: netip.MustParseAddr("fd00:a::1").AsSlice(), AddressMode: string(mode), LeaseSeconds: 7200,
		}}},
		desired.PortRow(servedPort): {Body: &hoststream.Row_Port{Port: &hoststream.Port{
			Port: servedPort, PortName: "d:p:guest", Vrf: 7, Mac: servedMAC, Mtu: 1400, HostName: "guest", Domain: "p.d.weft.internal", Project: "project", Machine: "machine",
			Addresses: []*hoststream.PortAddress{
				{Ip: servedIPv4.AsSlice(), PrefixLength: 24, Gateway: []byte{10, 0, 0, 1}, Subnet: "s4"},
				{Ip: six.AsSlice(), PrefixLength: 64, Gateway: netip.MustParseAddr("fd00:a::1").AsSlice(), Subnet: "s6"},
			},
		}}},
	}
	for _, ip := range []netip.Addr{servedIPv4, six} {
		put(rows, route(7, ip, &hoststream.Route{Mac: servedMAC, NextHop: &hoststream.Route_Port{Port: servedPort}}))
	}
	for _, g := range ips(1) {
		put(rows, route(7, g, &hoststream.Route{NextHop: &hoststream.Route_Gateway{Gateway: &hoststream.Gateway{}}}))
	}
	return rows
}

// bare makes a veth pair as a hypervisor would, and only brings its far end up.
func bare(t *testing.T, ns, name, far, farName string) {
	t.Helper()
	h, err := netns.GetFromName(far)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	inside(t, ns, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: farName, PeerNamespace: netlink.NsFd(int(h)), PeerHardwareAddr: servedMAC})
	})
	inside(t, far, func() error {
		l, err := netlink.LinkByName(farName)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
}

// configure gives the workload its addresses and routes by hand.
func (s served) configure(six netip.Addr) {
	inside(s.t, s.workload, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for bits, a := range map[int]netip.Addr{24: servedIPv4, 64: six} {
			address := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}}
			if a.Is6() {
				address.Flags = syscall.IFA_F_NODAD
			}
			if err := netlink.AddrReplace(l, address); err != nil {
				return err
			}
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.IP{10, 0, 0, 1}, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}})
	})
}

// client runs a DHCP client until it has configured something, and returns
// what its script was told.
func (s served) client(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	text := "#!/bin/sh\n{ echo action=$1; env; echo end; } >> " + dir + "/told\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	for i, a := range arguments {
		arguments[i] = strings.NewReplacer("SCRIPT", script, "DIR", dir).Replace(a)
	}
	c := exec.Command(name, arguments...)
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} // its script tells its environment
	var out lockedBuffer
	c.Stdout, c.Stderr = &out, &out
	command(t, s.workload, c)
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	t.Cleanup(func() { _ = c.Process.Kill(); <-ended }) // has ended if it ends by itself
	var told string
	eventually(t, func() error {
		raw, _ := os.ReadFile(filepath.Join(dir, "told"))
		told = string(raw)
		if strings.HasSuffix(told, "end\n") && (strings.Contains(told, "new_ip") || strings.Contains(told, "new_dhcp6") || strings.Contains(told, "action=bound")) {
			return nil
		}
		return fmt.Errorf("%s has no lease yet; it said:\n%s\nand its script was told\n%s", name, out.String(), told)
	})
	return told
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func expect(t *testing.T, who, told string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains(told, want) {
			t.Errorf("%s was not told %q but\n%s", who, want, told)
		}
	}
}

// Real DHCP clients on a workload's interface are told everything, by its own host.
func TestDHCPClients(t *testing.T) {
	s := serve(t, api.ModeStateful, servedIPv6)
	told := s.client(t, "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "5", "-T", "1", "-s", "SCRIPT",
		"-O", "mtu", "-O", "staticroutes", "-O", "hostname", "-O", "search", "-O", "bootfile", "-O", "ntpsrv")
	expect(t, "udhcpc", told, "ip=10.0.0.42\n", "mask=24", "router=10.0.0.1", "dns=10.0.0.1", "mtu=1400", "lease=7200", "hostname=guest",
		"domain=p.d.weft.internal", "search=p.d.weft.internal more.example", "ntpsrv=192.0.2.123", "serverid=10.0.0.1",
		"192.168.0.0/16 10.0.0.9", "0.0.0.0/0 10.0.0.1", "boot_file=pxelinux.0")
	told = s.client(t, "dhclient", "-4", "-1", "-d", "-sf", "SCRIPT", "-lf", "DIR/leases", "-pf", "DIR/pid", "eth0")
	expect(t, "dhclient", told, "new_ip_address=10.0.0.42", "new_routers=10.0.0.1", "new_domain_name=p.d.weft.internal", "new_dhcp_server_identifier=10.0.0.1")
	eventually(t, func() error { return s.tentative() })
	told = s.client(t, "dhclient", "-6", "-1", "-d", "-sf", "SCRIPT", "-lf", "DIR/leases", "-pf", "DIR/pid", "eth0")
	expect(t, "dhclient -6", told, "new_ip6_address=fd00:a::42", "new_max_life=7200", "new_dhcp6_name_servers=fd00:a::1", "new_dhcp6_domain_search=p.d.weft.internal.")
}

// tentative says that the workload's link-local address cannot be used yet.
func (s served) tentative() (state error) {
	inside(s.t, s.workload, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		all, err := netlink.AddrList(l, netlink.FAMILY_V6)
		state = errors.New("the workload has no link-local address")
		for _, a := range all {
			if a.IP.IsLinkLocalUnicast() && a.Flags&syscall.IFA_F_TENTATIVE == 0 {
				state = nil
			}
		}
		return err
	})
	return state
}

// selfConfigured says what the workload's kernel lacks of what advertisements give it.
func (s served) selfConfigured() (missing error) {
	inside(s.t, s.workload, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		addresses, err := netlink.AddrList(l, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		missing = fmt.Errorf("the workload has %v, not %v", addresses, servedSelf)
		for _, a := range addresses {
			if a.IP.Equal(servedSelf.AsSlice()) && a.Flags&syscall.IFA_F_TENTATIVE == 0 {
				missing = nil
			}
		}
		for _, a := range addresses { // clients speak from the link-local one
			if a.IP.IsLinkLocalUnicast() && a.Flags&syscall.IFA_F_TENTATIVE != 0 {
				missing = fmt.Errorf("%v is still tentative", a.IP)
			}
		}
		routes, err := netlink.RouteList(l, netlink.FAMILY_V6)
		found := false
		for _, r := range routes {
			found = found || r.Gw.Equal(net.ParseIP("fe80::1")) && r.MTU == 1400
		}
		if missing == nil && !found {
			missing = fmt.Errorf("no default route through fe80::1 with MTU 1400 in %v", routes)
		}
		return err
	})
	return missing
}

// A kernel that listens to router advertisements configures itself: address,
// MTU, router, all from its own host, and the gateway answers it.
func TestSLAAC(t *testing.T) {
	s := serve(t, api.ModeSLAAC, servedSelf)
	eventually(t, s.selfConfigured)
	reaches(t, s.workload, "fd00:a::1")
	reaches(t, s.workload, "fe80::1%eth0")
	router := func() (found bool) {
		inside(t, s.workload, func() error {
			routes, err := netlink.RouteList(nil, netlink.FAMILY_V6)
			for _, r := range routes {
				found = found || r.Gw.Equal(net.ParseIP("fe80::1"))
			}
			return err
		})
		return found
	}
	rows := servedRows(api.ModeSLAAC, servedSelf)
	delete(rows, desired.SubnetRow(desired.SubnetKey{VRF: 7, ID: "s6"}))
	s.controller.set(rows)
	eventually(t, func() error { // told at once, not after half an hour
		if router() {
			return errors.New("the workload still has a router")
		}
		return nil
	})
	s.controller.set(servedRows(api.ModeSLAAC, servedSelf))
	eventually(t, func() error {
		if !router() {
			return errors.New("the workload has no router again")
		}
		return nil
	})
}
