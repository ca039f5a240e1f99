// SPDX-License-Identifier: Apache-2.0

package dhcp6_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/weft-network/weft/agent/dhcp6"
)

var facts = dhcp6.Facts{
	Server: [6]byte{0, 0, 0x5e, 0, 1, 0}, Time: time.Hour, Search: []string{"p.d.internal"},
	Addresses: []netip.Addr{netip.MustParseAddr("fd00::5")}, Prefixes: []netip.Prefix{netip.MustParsePrefix("fd00::/64")},
	DNS:     []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
	Options: []dhcp6.Option{{Code: 59, Value: []byte("tftp://first")}, {Code: 59, Value: []byte("tftp://second")}},
}

func duid(last byte) dhcpv6.DUID {
	return &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{0, 0, 0x5e, 0, 1, last}}
}

// ask returns a message with the parts that words name.
func ask(t testing.TB, kind dhcpv6.MessageType, words string) []byte {
	t.Helper()
	m := &dhcpv6.Message{MessageType: kind, TransactionID: [3]byte{1, 2, 3}}
	ia := 0
	for _, word := range strings.Fields(words) {
		switch word {
		case "client":
			m.AddOption(dhcpv6.OptClientID(duid(99)))
		case "us":
			m.AddOption(dhcpv6.OptServerID(duid(0)))
		case "them":
			m.AddOption(dhcpv6.OptServerID(duid(1)))
		case "rapid":
			m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
		case "ia":
			ia++
			m.AddOption(&dhcpv6.OptIANA{IaId: [4]byte{byte(ia)}})
		case "pd":
			m.AddOption(&dhcpv6.OptIAPD{IaId: [4]byte{9}})
		default:
			ia++
			o := &dhcpv6.OptIANA{IaId: [4]byte{byte(ia)}}
			o.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(word)})
			m.AddOption(o)
		}
	}
	return m.ToBytes()
}

// say writes what matters of a reply: its type, each address with its
// lifetime, and statuses.
func say(t *testing.T, message []byte, f dhcp6.Facts) string {
	t.Helper()
	raw, err := dhcp6.Answer(message, f)
	if errors.Is(err, dhcp6.ErrSilent) {
		return "silent"
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := dhcpv6.MessageFromBytes(raw)
	if err != nil || !m.Options.ServerID().Equal(duid(0)) || m.TransactionID != [3]byte{1, 2, 3} {
		t.Fatalf("reply %v: %v", m, err)
	}
	words := []string{m.MessageType.String()}
	for _, ia := range m.Options.IANA() {
		words = append(words, fmt.Sprintf("ia%d", ia.IaId[0]))
		for _, a := range ia.Options.Addresses() {
			words = append(words, fmt.Sprintf("%v=%v", a.IPv6Addr, a.ValidLifetime))
		}
		if s := ia.Options.Status(); s != nil {
			words = append(words, s.StatusCode.String())
		}
	}
	for _, pd := range m.Options.IAPD() {
		words = append(words, pd.Options.Status().StatusCode.String())
	}
	if s := m.Options.Status(); s != nil {
		words = append(words, s.StatusCode.String())
	}
	if m.Options.BootFileURL() != "" {
		words = append(words, fmt.Sprint("told ", m.Options.DNS(), m.Options.DomainSearchList().Labels, m.Options.BootFileURL()))
	}
	return strings.Join(words, " ")
}

func TestAnswers(t *testing.T) {
	const told = " told [fd00::1] [p.d.internal]tftp://first"
	none := facts
	none.Addresses = nil
	for _, w := range []struct {
		kind  dhcpv6.MessageType
		parts string
		facts dhcp6.Facts
		want  string
	}{
		{dhcpv6.MessageTypeSolicit, "client ia", facts, "ADVERTISE ia1 fd00::5=1h0m0s" + told},
		{dhcpv6.MessageTypeSolicit, "client rapid ia", facts, "REPLY ia1 fd00::5=1h0m0s" + told},
		{dhcpv6.MessageTypeSolicit, "client fd00::6", facts, "ADVERTISE ia1 fd00::5=1h0m0s" + told},
		{dhcpv6.MessageTypeSolicit, "ia", facts, "silent"},
		{dhcpv6.MessageTypeSolicit, "client us ia", facts, "silent"},
		{dhcpv6.MessageTypeSolicit, "client ia", none, "ADVERTISE ia1 NoAddrsAvail" + told},
		{dhcpv6.MessageTypeSolicit, "client ia ia pd", facts, "ADVERTISE ia1 fd00::5=1h0m0s ia2 NoAddrsAvail NoPrefixAvail" + told},
		{dhcpv6.MessageTypeRequest, "client us fd00::5", facts, "REPLY ia1 fd00::5=1h0m0s" + told},
		{dhcpv6.MessageTypeRequest, "client them ia", facts, "silent"},
		{dhcpv6.MessageTypeRenew, "client us fd00::6", facts, "REPLY ia1 fd00::5=1h0m0s fd00::6=0s" + told},
		{dhcpv6.MessageTypeRebind, "client fd00::5", facts, "REPLY ia1 fd00::5=1h0m0s" + told},
		{dhcpv6.MessageTypeConfirm, "client fd00::5", facts, "REPLY Success"},
		{dhcpv6.MessageTypeConfirm, "client fd99::5", facts, "REPLY NotOnLink"},
		{dhcpv6.MessageTypeConfirm, "client ia", facts, "silent"},
		{dhcpv6.MessageTypeRelease, "client us fd00::5", facts, "REPLY Success"},
		{dhcpv6.MessageTypeDecline, "client us fd00::5", facts, "REPLY Success"},
		{dhcpv6.MessageTypeDecline, "client fd00::5", facts, "silent"},
		{dhcpv6.MessageTypeReconfigure, "client us", facts, "silent"},
		{dhcpv6.MessageTypeRelayForward, "client", facts, "silent"},
		{dhcpv6.MessageTypeInformationRequest, "", none, "REPLY" + told},
		{dhcpv6.MessageTypeInformationRequest, "client them", facts, "silent"},
		{dhcpv6.MessageTypeReply, "client us", facts, "silent"},
	} {
		if got := say(t, ask(t, w.kind, w.parts), w.facts); got != w.want {
			t.Errorf("%v %s: %s\nwant %s", w.kind, w.parts, got, w.want)
		}
	}
	if got := say(t, ask(t, dhcpv6.MessageTypeSolicit, "client"+strings.Repeat(" ia", 17)), facts); got != "silent" {
		t.Errorf("17 identities: %s", got)
	}
}

// An offer says that no other will come, information says how long it is good,
// and temporary addresses are refused in words.
func TestReplyTells(t *testing.T) {
	answer := func(kind dhcpv6.MessageType, parts string, more ...dhcpv6.Option) *dhcpv6.Message {
		q, err := dhcpv6.MessageFromBytes(ask(t, kind, parts))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range more {
			q.AddOption(o)
		}
		raw, err := dhcp6.Answer(q.ToBytes(), facts)
		if err != nil {
			t.Fatal(err)
		}
		r, err := dhcpv6.MessageFromBytes(raw)
		if err != nil {
			t.Fatal(err)
		}
		s, err := dhcp6.Summarize(raw)
		if err != nil || s.Kind != strings.ToLower(r.MessageType.String()) || len(r.Options.IANA()) > 0 && (s.Time != time.Hour || len(s.Addresses) != 1) {
			t.Errorf("%v is told as %+v, %v", r, s, err)
		}
		return r
	}
	if p := answer(dhcpv6.MessageTypeSolicit, "client ia").Options.Preference(); p != 255 {
		t.Errorf("preference %d", p)
	}
	if d := answer(dhcpv6.MessageTypeInformationRequest, "client").Options.InformationRefreshTime(0); d != time.Hour {
		t.Errorf("information is good for %v", d)
	}
	temporary := answer(dhcpv6.MessageTypeSolicit, "client ia", &dhcpv6.OptIATA{IaId: [4]byte{9}}).Options.OneIATA()
	if temporary == nil || temporary.IaId != [4]byte{9} || temporary.Options.Status().StatusCode != iana.StatusNoAddrsAvail {
		t.Errorf("temporary addresses: %v", temporary)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(ask(f, dhcpv6.MessageTypeSolicit, "client rapid ia pd"))
	f.Add(ask(f, dhcpv6.MessageTypeRenew, "client us fd00::6"))
	f.Fuzz(func(t *testing.T, message []byte) {
		if s, err := dhcp6.Summarize(message); err == nil && (len(s.Client) > 128 || len(s.Addresses) > 64) {
			t.Fatalf("%x is told as %+v", message, s)
		}
		raw, err := dhcp6.Answer(message, facts)
		if err != nil {
			return
		}
		m, err := dhcpv6.MessageFromBytes(raw)
		if err != nil {
			t.Fatalf("%x is answered with %x: %v", message, raw, err)
		}
		for _, ia := range m.Options.IANA() {
			for _, a := range ia.Options.Addresses() {
				if a.ValidLifetime != 0 && !a.IPv6Addr.Equal(facts.Addresses[0].AsSlice()) {
					t.Fatalf("%x is given %v, which is not the port's", message, a.IPv6Addr)
				}
			}
		}
	})
}
