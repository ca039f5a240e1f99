// SPDX-License-Identifier: Apache-2.0

package main

import (
	numbers "encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// What the kernel keeps of the last advertisement (linux/if_inet6 net/if_inet6.h).
const (
	raManaged = 0x40 // addresses by DHCPv6
	raOther   = 0x80 // the rest by it
)

// advertised is what the workload's kernel was told about DHCPv6.
func (s served) advertised() (flags uint32) {
	s.t.Helper()
	inside(s.t, s.workload, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		ask := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		ask.AddData(nl.NewIfInfomsg(unix.AF_INET6))
		answers, err := ask.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
		for _, raw := range answers {
			if int(nl.DeserializeIfInfomsg(raw).Index) != l.Attrs().Index {
				continue
			}
			attributes, err := nl.ParseRouteAttrAsMap(raw[unix.SizeofIfInfomsg:])
			if err != nil {
				return err
			}
			inner, err := nl.ParseRouteAttrAsMap(attributes[unix.IFLA_PROTINFO].Value)
			if err != nil {
				return err
			}
			flags = numbers.NativeEndian.Uint32(inner[unix.IFLA_INET6_FLAGS].Value) & (raManaged | raOther)
		}
		return err
	})
	return flags
}

// In a subnet of mode stateless a kernel makes its address itself and is told to
// ask for the rest by DHCPv6, which isc-dhclient does: it gets DNS servers, search
// domains and options, those of a change too, and no address, also if it asks for one.
func TestStatelessDHCPv6(t *testing.T) {
	s := serve(t, api.ModeStateless, servedSelf)
	eventually(t, s.selfConfigured)
	if got := s.advertised(); got != raOther {
		t.Errorf("the workload was advertised DHCPv6 by flags %#x, want %#x: for the rest, not for addresses", got, raOther)
	}
	ask := func() string {
		return s.client(t, "dhclient", "-6", "-S", "-1", "-d", "-sf", "SCRIPT", "-lf", "DIR/leases", "-pf", "DIR/pid", "eth0")
	}
	told := ask()
	expect(t, "dhclient -6 -S", told, "new_dhcp6_name_servers=fd00:a::1\n", "new_dhcp6_domain_search=p.d.weft.internal.")
	if strings.Contains(told, "ip6_address") {
		t.Errorf("a client that asks for no address was told one:\n%s", told)
	}
	s.lease(t, "d:p:guest tap0 dhcpv6", "information-request reply")

	rows := servedRows(api.ModeStateless, servedSelf)
	six := rows[desired.SubnetRow(desired.SubnetKey{VRF: 7, ID: "s6"})].GetSubnet()
	six.DnsServers = [][]byte{servedIPv6.AsSlice()}
	six.SearchDomains = []string{"more.example"}
	six.Options = []*hoststream.DhcpOption{{Six: true, Code: 31, Value: servedIPv6.AsSlice()}}
	s.controller.set(rows)
	s.controller.settled()
	expect(t, "dhclient -6 -S", ask(), "new_dhcp6_name_servers=fd00:a::42\n", "new_dhcp6_domain_search=p.d.weft.internal. more.example.", "new_dhcp6_sntp_servers=fd00:a::42\n")

	// One that wants an address hears that there is none, and goes on asking.
	c := s.background(t, t.TempDir(), "", "dhclient", "-6", "-d", "-v", "-sf", "SCRIPT", "-lf", "DIR/leases", "-pf", "DIR/pid", "eth0")
	s.lease(t, "d:p:guest tap0 dhcpv6", "solicit advertise")
	eventually(t, func() error {
		if out := c.out.String(); !strings.Contains(out, "Status code of no addrs") {
			return fmt.Errorf("it says %s", out)
		}
		return nil
	})
	reaches(t, s.workload, "fd00:a::1")
}
