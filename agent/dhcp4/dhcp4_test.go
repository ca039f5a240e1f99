// SPDX-License-Identifier: Apache-2.0

package dhcp4_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/weft-network/weft/agent/dhcp4"
)

var (
	mac   = [6]byte{2, 0, 0, 0, 0, 5}
	facts = dhcp4.Facts{
		MAC: mac, Server: netip.MustParseAddr("10.0.0.1"), MTU: 1400, HostName: "a", Domain: "p.d.internal",
		Leases: []dhcp4.Lease{
			{
				Prefix: netip.MustParsePrefix("10.0.0.5/24"), Gateway: netip.MustParseAddr("10.0.0.1"), Time: time.Hour,
				DNS:     []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
				Routes:  []dhcp4.Route{{Destination: netip.MustParsePrefix("192.168.0.0/16"), NextHop: netip.MustParseAddr("10.0.0.9")}},
				Options: []dhcp4.Option{{Code: 150, Value: []byte{192, 0, 2, 9}}, {Code: 67, Value: []byte("first")}, {Code: 67, Value: []byte("second")}},
			},
			{Prefix: netip.MustParsePrefix("10.9.0.5/16"), Time: time.Hour},
		},
	}
)

// ask returns a request of a kind, changed by modifiers.
func ask(t testing.TB, kind dhcpv4.MessageType, change ...dhcpv4.Modifier) []byte {
	t.Helper()
	q, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithMessageType(kind), dhcpv4.WithHwAddr(net.HardwareAddr(mac[:]))}, change...)...)
	if err != nil {
		t.Fatal(err)
	}
	return q.ToBytes()
}

func wish(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(ip)))
}

func server(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(ip)))
}

func TestAnswers(t *testing.T) {
	other := [6]byte{2, 9, 9, 9, 9, 9}
	for _, w := range []struct {
		name    string
		request []byte
		want    string
	}{
		{"discover", ask(t, dhcpv4.MessageTypeDiscover), "OFFER 10.0.0.5 to 10.0.0.5"},
		{"discover with a wish", ask(t, dhcpv4.MessageTypeDiscover, wish("10.9.0.5")), "OFFER 10.9.0.5 to 10.9.0.5"},
		{"discover with a foreign wish", ask(t, dhcpv4.MessageTypeDiscover, wish("10.0.0.6")), "OFFER 10.0.0.5 to 10.0.0.5"},
		{"who cannot receive yet", ask(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithBroadcast(true)), "OFFER 10.0.0.5 to 255.255.255.255 broadcast"},
		{"selecting", ask(t, dhcpv4.MessageTypeRequest, wish("10.0.0.5"), server("10.0.0.1")), "ACK 10.0.0.5 to 10.0.0.5"},
		{"selecting another server", ask(t, dhcpv4.MessageTypeRequest, wish("10.0.0.5"), server("10.0.0.99")), "silent"},
		{"a moved workload", ask(t, dhcpv4.MessageTypeRequest, wish("10.0.0.6")), "NAK 0.0.0.0 to 255.255.255.255 broadcast"},
		{"renewing", ask(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IP{10, 9, 0, 5})), "ACK 10.9.0.5 to 10.9.0.5"},
		{"renewing what is lost", ask(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IP{10, 0, 0, 6})), "NAK 0.0.0.0 to 255.255.255.255 broadcast"},
		{"inform", ask(t, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(net.IP{10, 0, 0, 5})), "ACK 0.0.0.0 to 10.0.0.5"},
		{"who wants it at once", ask(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionRapidCommit, nil))), "ACK 10.0.0.5 to 10.0.0.5"},
		{"rebooting", ask(t, dhcpv4.MessageTypeRequest, wish("10.0.0.5")), "ACK 10.0.0.5 to 10.0.0.5"},
		{"rebooting, cannot receive yet", ask(t, dhcpv4.MessageTypeRequest, wish("10.0.0.5"), dhcpv4.WithBroadcast(true)), "ACK 10.0.0.5 to 255.255.255.255 broadcast"},
		{"rebinding", ask(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IP{10, 0, 0, 5}), dhcpv4.WithBroadcast(true)), "ACK 10.0.0.5 to 10.0.0.5"},
		{"decline", ask(t, dhcpv4.MessageTypeDecline, wish("10.0.0.5"), server("10.0.0.1")), "silent"},
		{"through a relay", ask(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithGatewayIP(net.IP{10, 0, 0, 9})), "silent"},
		{"bootp", bootp(t), "silent"},
		{"release", ask(t, dhcpv4.MessageTypeRelease), "silent"},
		{"an offer", ask(t, dhcpv4.MessageTypeOffer), "silent"},
		{"a reply", ask(t, dhcpv4.MessageTypeDiscover, func(d *dhcpv4.DHCPv4) { d.OpCode = dhcpv4.OpcodeBootReply }), "silent"},
		{"for somebody else", ask(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithHwAddr(net.HardwareAddr(other[:]))), "silent"},
		{"garbage", []byte("not DHCP"), "silent"},
	} {
		if got := say(t, w.request); got != w.want {
			t.Errorf("%s: %s, want %s", w.name, got, w.want)
		}
	}
}

// bootp is a request of before DHCP.
func bootp(t *testing.T) []byte {
	q, err := dhcpv4.FromBytes(ask(t, dhcpv4.MessageTypeDiscover))
	if err != nil {
		t.Fatal(err)
	}
	q.DeleteOption(dhcpv4.OptionDHCPMessageType)
	return q.ToBytes()
}

func say(t *testing.T, request []byte) string {
	t.Helper()
	r, err := dhcp4.Answer(request, facts)
	if errors.Is(err, dhcp4.ErrSilent) {
		return "silent"
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := dhcpv4.FromBytes(r.Message)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%v %v to %v", m.MessageType(), m.YourIPAddr, r.To)
	if r.Broadcast {
		text += " broadcast"
	}
	if lease := m.IPAddressLeaseTime(0); (lease == time.Hour) == m.YourIPAddr.IsUnspecified() {
		text += fmt.Sprintf(" with a lease of %v", lease)
	}
	return text
}

// What a reply tells beside the address; the first of two options of one code
// wins, and what boots from the network finds it where it looks.
func TestReplyTells(t *testing.T) {
	r, err := dhcp4.Answer(ask(t, dhcpv4.MessageTypeDiscover), facts)
	if err != nil {
		t.Fatal(err)
	}
	m, err := dhcpv4.FromBytes(r.Message)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintln(m.DNS(), m.Router(), m.SubnetMask(), m.HostName(), m.DomainName(), m.DomainSearch().Labels, m.BootFileName, m.BootFileNameOption(),
		m.ServerIPAddr, m.ServerIdentifier(), m.ClasslessStaticRoute(), m.IPAddressRenewalTime(0), m.IPAddressRebindingTime(0))
	want := "[10.0.0.1] [10.0.0.1] ffffff00 a p.d.internal [p.d.internal] first first 192.0.2.9 10.0.0.1 " +
		"[route to 192.168.0.0/16 via 10.0.0.9 route to 0.0.0.0/0 via 10.0.0.1] 30m0s 52m30s\n"
	if got != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
}

// What clients of different makers ask with is answered in their way: the
// options that isc-dhclient, udhcpc, systemd-networkd, Windows and cloud-init
// send and request.
func TestClientsOfDifferentMakers(t *testing.T) {
	id := []byte{0xff, 1, 2, 3, 4, 0, 2, 0, 0, 0xab, 0x11}
	for name, w := range map[string]struct {
		change    []dhcpv4.Modifier
		id, rapid bool
		microsoft bool
	}{
		"isc-dhclient": {change: []dhcpv4.Modifier{dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionBroadcastAddress, dhcpv4.OptionTimeOffset,
			dhcpv4.OptionRouter, dhcpv4.OptionDomainName, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionHostName,
			dhcpv4.OptionNetBIOSOverTCPIPNameServer, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionNTPServers)}},
		"udhcpc and cloud-init": {change: []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, append([]byte{1}, mac[:]...))),
			dhcpv4.WithOption(dhcpv4.OptClassIdentifier("udhcp 1.35.0")), dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(576))}, id: true},
		"systemd-networkd": {change: []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, id)),
			dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionRapidCommit, nil)), dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(1472)),
			dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionClasslessStaticRoute, dhcpv4.GenericOptionCode(108))}, id: true, rapid: true},
		"Windows": {change: []dhcpv4.Modifier{dhcpv4.WithBroadcast(true), dhcpv4.WithOption(dhcpv4.OptClassIdentifier("MSFT 5.0")),
			dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, append([]byte{1}, mac[:]...))),
			dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(81), append([]byte{0, 0, 0}, "guest"...))),
			dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
				dhcpv4.OptionClasslessStaticRoute, dhcpv4.GenericOptionCode(249), dhcpv4.GenericOptionCode(252))}, id: true, microsoft: true},
	} {
		request := ask(t, dhcpv4.MessageTypeDiscover, w.change...)
		r, err := dhcp4.Answer(request, facts)
		if err != nil {
			t.Fatal(err)
		}
		m, err := dhcpv4.FromBytes(r.Message)
		if err != nil {
			t.Fatal(err)
		}
		q, _ := dhcpv4.FromBytes(request)
		asked := q.Options.Get(dhcpv4.OptionClientIdentifier)
		if got := m.Options.Get(dhcpv4.OptionClientIdentifier); (len(got) > 0) != w.id || !bytes.Equal(got, asked) {
			t.Errorf("%s: its identifier %x is answered with %x", name, asked, got)
		}
		if m.Options.Has(dhcpv4.OptionRapidCommit) != w.rapid || (m.MessageType() == dhcpv4.MessageTypeAck) != w.rapid {
			t.Errorf("%s gets %v", name, m.MessageType())
		}
		if has := m.Options.Has(dhcpv4.GenericOptionCode(249)); has != w.microsoft || has && !bytes.Equal(m.Options.Get(dhcpv4.GenericOptionCode(249)), m.Options.Get(dhcpv4.OptionClasslessStaticRoute)) {
			t.Errorf("%s: routes under the number of Windows: %t", name, has)
		}
		s, err := dhcp4.Summarize(request)
		if err != nil || s.Kind != "discover" || s.Client == "" || w.id && s.Client != hex.EncodeToString(asked) {
			t.Errorf("%s is told as %+v, %v", name, s, err)
		}
		if s, err = dhcp4.Summarize(r.Message); err != nil || s.Address != facts.Leases[0].Prefix.Addr() || s.Time != time.Hour {
			t.Errorf("the answer to %s is told as %+v, %v", name, s, err)
		}
	}
}

// A client that takes little gets fewer further options, and never a longer message.
func TestReplyFits(t *testing.T) {
	f := facts
	f.Leases = slices.Clone(f.Leases)
	for code := range 6 {
		f.Leases[0].Options = append(f.Leases[0].Options, dhcp4.Option{Code: uint8(200 + code), Value: []byte(strings.Repeat("x", 200))})
	}
	for size, want := range map[int]int{576: 548, 1000: 972, 0: 1472} {
		var change []dhcpv4.Modifier
		if size > 0 {
			change = append(change, dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(uint16(size))))
		}
		r, err := dhcp4.Answer(ask(t, dhcpv4.MessageTypeDiscover, change...), f)
		if err != nil || len(r.Message) > want || len(r.Message) < want-250 {
			t.Errorf("a client that takes %d: %d bytes, %v; want nearly %d", size, len(r.Message), err, want)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform} {
		f.Add(ask(f, kind))
	}
	f.Fuzz(func(t *testing.T, request []byte) {
		if s, err := dhcp4.Summarize(request); err == nil {
			for _, word := range []string{s.Kind, s.Client, s.HostName, s.Vendor} {
				if len(word) > 140 || strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Fatalf("%x is told as %q", request, word)
				}
			}
		}
		r, err := dhcp4.Answer(request, facts)
		if err != nil {
			return
		}
		m, err := dhcpv4.FromBytes(r.Message)
		if err != nil || len(r.Message) > 1472 || !r.To.Is4() {
			t.Fatalf("%x is answered with %x to %v: %v", request, r.Message, r.To, err)
		}
		if ip, _ := netip.AddrFromSlice(m.YourIPAddr); !ip.IsUnspecified() && ip != facts.Leases[0].Prefix.Addr() && ip != facts.Leases[1].Prefix.Addr() {
			t.Fatalf("%x is given %v, which is not the port's", request, ip)
		}
	})
}
