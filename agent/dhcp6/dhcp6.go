// SPDX-License-Identifier: Apache-2.0

// Package dhcp6 answers DHCPv6 (RFC 8415) for one port: a function from a
// message and the port's facts to a reply. Who has an address is decided
// elsewhere, so nothing here remembers anything.
package dhcp6

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// The ports of RFC 8415.
const (
	ServerPort = 547
	ClientPort = 546
)

// ErrSilent says that a message gets no answer, and wraps why.
var ErrSilent = errors.New("no answer is due")

// maxIdentities bounds the identity associations of one message.
const maxIdentities = 16

const (
	maxPreference = 255
	// leastRefresh is IRT_MINIMUM of RFC 8415.
	leastRefresh = 600 * time.Second
)

// Option is a further option.
type Option struct {
	Code  uint16
	Value []byte
	// Architectures and UserClass are what a client says of itself that is told
	// the option; none: any client is.
	Architectures []uint16
	UserClass     string
}

// Facts are what is known of a port.
type Facts struct {
	// Server is the Ethernet address in the server's identifier. It is the same
	// on every host, so that a workload that moves has not changed servers.
	Server    [6]byte
	Addresses []netip.Addr // that DHCPv6 gives; none if they follow from advertisements
	Prefixes  []netip.Prefix
	DNS       []netip.Addr
	Search    []string
	Time      time.Duration
	Options   []Option
}

func (f Facts) id() dhcpv6.DUID {
	return &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: f.Server[:]}
}

// Answer replies to a message; ErrSilent if there is no answer to it.
func Answer(message []byte, f Facts) ([]byte, error) {
	m, err := dhcpv6.MessageFromBytes(message)
	if err != nil {
		return nil, fmt.Errorf("%w: read DHCPv6 message: %w", ErrSilent, err)
	}
	if why := f.improper(m); why != "" {
		return nil, fmt.Errorf("%w: %s", ErrSilent, why)
	}
	if len(m.Options.IANA())+len(m.Options.IATA())+len(m.Options.IAPD()) > maxIdentities {
		return nil, fmt.Errorf("%w: %d identity associations", ErrSilent, len(m.Options.IANA())+len(m.Options.IATA())+len(m.Options.IAPD()))
	}
	r := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: m.TransactionID}
	if id := m.Options.ClientID(); id != nil {
		r.AddOption(dhcpv6.OptClientID(id))
	}
	r.AddOption(dhcpv6.OptServerID(f.id()))
	switch m.MessageType {
	case dhcpv6.MessageTypeSolicit:
		r.MessageType = dhcpv6.MessageTypeAdvertise
		r.AddOption(dhcpv6.OptPreference(maxPreference)) // the client need not wait for others
		if m.GetOneOption(dhcpv6.OptionRapidCommit) != nil {
			r.MessageType = dhcpv6.MessageTypeReply
			r.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
		}
		f.assign(m, r)
		f.describe(m, r)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		f.assign(m, r)
		f.describe(m, r)
	case dhcpv6.MessageTypeConfirm:
		return f.confirm(m, r)
	case dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		r.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess})
	case dhcpv6.MessageTypeInformationRequest:
		f.describe(m, r)
		if f.Time > 0 {
			r.AddOption(dhcpv6.OptInformationRefreshTime(max(f.Time, leastRefresh)))
		}
	}
	return r.ToBytes(), nil
}

// improper says why a message must be discarded (RFC 8415 section 16).
func (f Facts) improper(m *dhcpv6.Message) string {
	client, server := m.Options.ClientID(), m.Options.ServerID()
	if server != nil && !server.Equal(f.id()) {
		return "it is for another server"
	}
	switch m.MessageType {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		if client == nil || server != nil {
			return "it must name its client and no server"
		}
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		if client == nil || server == nil {
			return "it must name its client and this server"
		}
	case dhcpv6.MessageTypeInformationRequest:
		if len(m.Options.IANA()) > 0 {
			return "it must ask for no address"
		}
	default:
		return fmt.Sprintf("message of type %v", m.MessageType)
	}
	return ""
}

// assign answers every identity association. The first gets the addresses; one
// that asks for an address that is not the port's is told its end.
func (f Facts) assign(m, r *dhcpv6.Message) {
	for i, ia := range m.Options.IANA() {
		answer := &dhcpv6.OptIANA{IaId: ia.IaId, T1: f.Time / 2, T2: f.Time / 5 * 4}
		given := map[netip.Addr]bool{}
		if i == 0 {
			for _, a := range f.Addresses {
				given[a] = true
				answer.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice(), PreferredLifetime: f.Time, ValidLifetime: f.Time})
			}
		}
		for _, asked := range ia.Options.Addresses() {
			a, ok := netip.AddrFromSlice(asked.IPv6Addr)
			if ok && !given[a] && m.MessageType != dhcpv6.MessageTypeSolicit {
				given[a] = true
				answer.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: asked.IPv6Addr}) // lifetimes of 0: stop using it
			}
		}
		if i > 0 || len(f.Addresses) == 0 {
			answer.T1, answer.T2 = 0, 0
			answer.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail, StatusMessage: "no address for this identity"})
		}
		r.AddOption(answer)
	}
	for _, ta := range m.Options.IATA() {
		answer := &dhcpv6.OptIATA{IaId: ta.IaId}
		answer.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail, StatusMessage: "no temporary addresses"})
		r.AddOption(answer)
	}
	for _, pd := range m.Options.IAPD() {
		answer := &dhcpv6.OptIAPD{IaId: pd.IaId}
		answer.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoPrefixAvail, StatusMessage: "no prefix is delegated"})
		r.AddOption(answer)
	}
}

// confirm says whether addresses are right for the link the client is on. With
// none there is nothing to say (RFC 8415 section 18.3.3).
func (f Facts) confirm(m, r *dhcpv6.Message) ([]byte, error) {
	status, any := iana.StatusSuccess, false
	for _, ia := range m.Options.IANA() {
		for _, asked := range ia.Options.Addresses() {
			any = true
			if !f.onLink(asked.IPv6Addr) {
				status = iana.StatusNotOnLink
			}
		}
	}
	if !any {
		return nil, fmt.Errorf("%w: it confirms no address", ErrSilent)
	}
	r.AddOption(&dhcpv6.OptStatusCode{StatusCode: status})
	return r.ToBytes(), nil
}

func (f Facts) onLink(ip net.IP) bool {
	a, ok := netip.AddrFromSlice(ip)
	for _, p := range f.Prefixes {
		if ok && p.Contains(a) {
			return true
		}
	}
	return false
}

// describe adds what clients of every mode are told.
func (f Facts) describe(m, r *dhcpv6.Message) {
	var servers []net.IP
	for _, a := range f.DNS {
		if a.Is6() {
			servers = append(servers, a.AsSlice())
		}
	}
	if len(servers) > 0 {
		r.AddOption(dhcpv6.OptDNS(servers...))
	}
	if len(f.Search) > 0 {
		r.AddOption(dhcpv6.OptDomainSearchList(&rfc1035label.Labels{Labels: f.Search}))
	}
	seen := map[uint16]bool{}
	for _, o := range f.Options {
		if !seen[o.Code] && o.isFor(m) {
			seen[o.Code] = true
			r.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionCode(o.Code), OptionData: o.Value})
		}
	}
}

// isFor tells whether a client is told an option, by what it says of itself.
func (o Option) isFor(m *dhcpv6.Message) bool {
	if len(o.Architectures) > 0 && !slices.ContainsFunc(m.Options.ArchTypes(), func(a iana.Arch) bool { return slices.Contains(o.Architectures, uint16(a)) }) {
		return false
	}
	return o.UserClass == "" || slices.ContainsFunc(m.Options.UserClasses(), func(c []byte) bool { return string(c) == o.UserClass })
}
