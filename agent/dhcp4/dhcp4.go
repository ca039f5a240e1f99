// SPDX-License-Identifier: Apache-2.0

// Package dhcp4 answers DHCP (RFC 2131) for one port: a function from a
// request and the port's facts to a reply. Who has an address is decided
// elsewhere, so nothing here remembers anything.
package dhcp4

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// The ports of RFC 2131.
const (
	ServerPort = 67
	ClientPort = 68
)

// maxReply is the longest reply: what fits a packet of 1500 bytes. A client
// that says it takes less gets fewer options.
const (
	maxReply   = 1472
	leastReply = 548 // every client takes it: 576 less the IP and UDP headers
)

// ErrSilent says that a request gets no answer, and wraps why.
var ErrSilent = errors.New("no answer is due")

// Option is a further option.
type Option struct {
	Code  uint8
	Value []byte
	// Architectures and UserClass are what a client says of itself that is told
	// the option; none: any client is.
	Architectures []uint16
	UserClass     string
}

// Route is a route that the client is told.
type Route struct {
	Destination netip.Prefix
	NextHop     netip.Addr
}

// Lease is one address that the port has, with what goes with it.
type Lease struct {
	Prefix  netip.Prefix // the address with the subnet's length
	Gateway netip.Addr   // may be invalid: none
	DNS     []netip.Addr
	Search  []string
	Routes  []Route
	Time    time.Duration
	Options []Option
}

// Facts are what is known of a port.
type Facts struct {
	MAC      [6]byte
	Server   netip.Addr // identifies this server
	MTU      int        // bytes
	HostName string
	Domain   string
	Leases   []Lease // the first is offered; at least one
}

// Reply is a message and where it goes.
type Reply struct {
	Message   []byte
	To        netip.Addr
	Broadcast bool // on Ethernet as well
}

var everybody = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// Answer replies to a request; ErrSilent if there is no answer to it.
func Answer(request []byte, f Facts) (Reply, error) {
	q, err := dhcpv4.FromBytes(request)
	if err != nil {
		return Reply{}, fmt.Errorf("%w: read DHCP request: %w", ErrSilent, err)
	}
	if q.OpCode != dhcpv4.OpcodeBootRequest || len(q.ClientHWAddr) != len(f.MAC) || [6]byte(q.ClientHWAddr) != f.MAC {
		return Reply{}, fmt.Errorf("%w: not a request of the port's own MAC", ErrSilent)
	}
	if q.GatewayIPAddr != nil && !q.GatewayIPAddr.IsUnspecified() {
		return Reply{}, fmt.Errorf("%w: it says that a relay passed it on, and there is none", ErrSilent)
	}
	if len(f.Leases) == 0 {
		return Reply{}, fmt.Errorf("%w: the port has no address in a subnet with DHCP", ErrSilent)
	}
	switch q.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		kind := dhcpv4.MessageTypeOffer
		if q.Options.Has(dhcpv4.OptionRapidCommit) { // RFC 4039: there is no other server to choose
			kind = dhcpv4.MessageTypeAck
		}
		return f.give(q, kind, f.choose(q.RequestedIPAddress()))
	case dhcpv4.MessageTypeRequest:
		return f.request(q)
	case dhcpv4.MessageTypeInform:
		return f.give(q, dhcpv4.MessageTypeAck, f.choose(q.ClientIPAddr))
	}
	return Reply{}, fmt.Errorf("%w: message of type %v", ErrSilent, q.MessageType())
}

// find returns the lease of an address.
func (f Facts) find(address net.IP) (Lease, bool) {
	a, ok := netip.AddrFromSlice(address)
	for _, l := range f.Leases {
		if ok && l.Prefix.Addr() == a.Unmap() {
			return l, true
		}
	}
	return Lease{}, false
}

// choose is the address that was asked for, if it is the port's, else the first.
func (f Facts) choose(asked net.IP) Lease {
	if l, ok := f.find(asked); ok {
		return l
	}
	return f.Leases[0]
}

// request answers a REQUEST of every state (RFC 2131 section 4.3.2): an
// address is the port's or it is not, whatever the client remembers.
func (f Facts) request(q *dhcpv4.DHCPv4) (Reply, error) {
	if id := q.ServerIdentifier(); id != nil && !id.Equal(f.Server.AsSlice()) {
		return Reply{}, fmt.Errorf("%w: the client chose server %v", ErrSilent, id)
	}
	asked := q.RequestedIPAddress()
	if asked == nil || asked.IsUnspecified() {
		asked = q.ClientIPAddr
	}
	lease, ok := f.find(asked)
	if !ok {
		return f.refuse(q)
	}
	return f.give(q, dhcpv4.MessageTypeAck, lease)
}

func (f Facts) refuse(q *dhcpv4.DHCPv4) (Reply, error) {
	r, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(f.Server.AsSlice())),
		dhcpv4.WithOption(dhcpv4.OptMessage("the address is not this port's")))
	if err != nil {
		return Reply{}, fmt.Errorf("build DHCP refusal: %w", err)
	}
	return Reply{Message: r.ToBytes(), To: everybody, Broadcast: true}, nil
}

// give builds an OFFER or ACK. An INFORM is told everything but the lease.
func (f Facts) give(q *dhcpv4.DHCPv4, kind dhcpv4.MessageType, l Lease) (Reply, error) {
	r, err := dhcpv4.NewReplyFromRequest(q, dhcpv4.WithMessageType(kind))
	if err != nil {
		return Reply{}, fmt.Errorf("build DHCP reply: %w", err)
	}
	r.ServerIPAddr = f.Server.AsSlice()
	r.UpdateOption(dhcpv4.OptServerIdentifier(f.Server.AsSlice()))
	inform := q.MessageType() == dhcpv4.MessageTypeInform
	if q.MessageType() == dhcpv4.MessageTypeDiscover && kind == dhcpv4.MessageTypeAck {
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRapidCommit, nil))
	}
	if inform {
		r.ClientIPAddr = q.ClientIPAddr
	} else {
		r.YourIPAddr = l.Prefix.Addr().AsSlice()
		r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(l.Time))
		r.UpdateOption(dhcpv4.OptRenewTimeValue(l.Time / 2))
		r.UpdateOption(dhcpv4.OptRebindingTimeValue(l.Time / 8 * 7))
	}
	f.describe(r, q, l)
	options := forClient(l.Options, q)
	further(r, options)
	acceptHTTP(r, q)
	message, err := fit(r, q, options)
	if err != nil {
		return Reply{}, err
	}
	reply := Reply{Message: message, To: l.Prefix.Addr()}
	switch {
	case q.ClientIPAddr != nil && !q.ClientIPAddr.IsUnspecified():
		reply.To, _ = netip.AddrFromSlice(q.ClientIPAddr.To4())
	case q.IsBroadcast():
		reply.To, reply.Broadcast = everybody, true
	}
	return reply, nil
}

// describe adds what follows from the port and its subnet.
func (f Facts) describe(r, q *dhcpv4.DHCPv4, l Lease) {
	r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(l.Prefix.Bits(), 32)))
	if l.Gateway.IsValid() {
		r.UpdateOption(dhcpv4.OptRouter(l.Gateway.AsSlice()))
	}
	var servers []net.IP
	for _, a := range l.DNS {
		if a.Is4() {
			servers = append(servers, a.AsSlice())
		}
	}
	if len(servers) > 0 {
		r.UpdateOption(dhcpv4.OptDNS(servers...))
	}
	if f.HostName != "" {
		r.UpdateOption(dhcpv4.OptHostName(f.HostName))
	}
	if f.Domain != "" {
		r.UpdateOption(dhcpv4.OptDomainName(f.Domain))
	}
	if search := domains(f.Domain, l.Search); len(search) > 0 {
		r.UpdateOption(dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: search}))
	}
	if f.MTU > 0 {
		r.UpdateOption(dhcpv4.Option{Code: dhcpv4.OptionInterfaceMTU, Value: dhcpv4.Uint16(f.MTU)})
	}
	if len(l.Routes) > 0 {
		told := dhcpv4.OptClasslessStaticRoute(routes(l)...)
		r.UpdateOption(told)
		if slices.ContainsFunc(q.ParameterRequestList(), func(c dhcpv4.OptionCode) bool { return c.Code() == optionMicrosoftRoutes.Code() }) {
			r.UpdateOption(dhcpv4.Option{Code: optionMicrosoftRoutes, Value: told.Value})
		}
	}
}

// optionMicrosoftRoutes is option 121 under the number by which Windows asked
// for it before RFC 3442 had one.
const optionMicrosoftRoutes = dhcpv4.GenericOptionCode(249)

// domains are searched in this order, each once.
func domains(first string, rest []string) (all []string) {
	seen := map[string]bool{"": true}
	for _, d := range append([]string{first}, rest...) {
		if !seen[d] {
			seen[d] = true
			all = append(all, d)
		}
	}
	return all
}

// routes repeats the default route: a client that is told routes ignores the
// router option (RFC 3442).
func routes(l Lease) (all []*dhcpv4.Route) {
	add := func(to netip.Prefix, hop netip.Addr) {
		all = append(all, &dhcpv4.Route{
			Dest: &net.IPNet{IP: to.Masked().Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}, Router: hop.AsSlice(),
		})
	}
	everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	told := false
	for _, r := range l.Routes {
		if r.Destination.Addr().Is4() && r.NextHop.Is4() {
			add(r.Destination, r.NextHop)
			told = told || r.Destination == everything
		}
	}
	if l.Gateway.IsValid() && !told {
		add(everything, l.Gateway)
	}
	return all
}

// Options that clients of old also look for in fields of the message (RFC 2131
// section 2): what boots from the network reads only these.
const (
	optionTFTPServer  = 66
	optionBootFile    = 67
	optionTFTPAddress = 150
	bootFileRoom      = 128 // of that field, with a zero at its end
)

// further adds the options that somebody asked for; the first of a code wins.
func further(r *dhcpv4.DHCPv4, options []Option) {
	for i := len(options) - 1; i >= 0; i-- {
		o := options[i]
		r.UpdateOption(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(o.Code), o.Value))
		switch o.Code {
		case optionBootFile:
			if len(o.Value) < bootFileRoom { // else it is in the option alone
				r.BootFileName = string(o.Value)
			}
		case optionTFTPServer:
			r.ServerHostName = string(o.Value)
			if a, err := netip.ParseAddr(string(o.Value)); err == nil && a.Is4() {
				r.ServerIPAddr = a.AsSlice()
			}
		case optionTFTPAddress:
			if len(o.Value) >= 4 {
				r.ServerIPAddr = net.IP(o.Value[:4])
			}
		}
	}
}

// fit leaves out further options, the last ones first, until the message has
// the size that the client takes.
func fit(r, q *dhcpv4.DHCPv4, options []Option) ([]byte, error) {
	limit := maxReply
	if size, err := q.MaxMessageSize(); err == nil {
		limit = min(maxReply, max(leastReply, int(size)-28))
	}
	message := r.ToBytes()
	for i := len(options) - 1; i >= 0 && len(message) > limit; i-- {
		r.DeleteOption(dhcpv4.GenericOptionCode(options[i].Code))
		message = r.ToBytes()
	}
	if len(message) > limit {
		return nil, fmt.Errorf("build DHCP reply: %d bytes, and the client takes %d: give the subnet fewer routes or search domains", len(message), limit)
	}
	return message, nil
}
