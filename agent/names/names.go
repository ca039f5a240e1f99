// SPDX-License-Identifier: Apache-2.0

// Package names answers DNS for the workloads of one project: a function from
// a query and the project's names to a reply, or to the finding that somebody
// else has to be asked.
package names

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Internal is the domain that is all ours: what is not in it does not exist,
// and is asked of nobody else.
const Internal = "weft.internal."

const (
	// ttl is how long others remember an answer, in seconds: a workload that is
	// made anew has its new address soon.
	ttl = 30
	// maxUDP is the longest reply by UDP: it is never fragmented (the value of
	// DNS Flag Day 2020).
	maxUDP = 1232
)

// Answer replies to a query of a workload, or tells that somebody else is to be
// asked. Nobody else is asked for the names of addresses in the workload's own
// ranges, nor in private ones.
func (z *Zone) Answer(q *dns.Msg, own []netip.Prefix) (reply *dns.Msg, forward bool) {
	if q.Response {
		return nil, false // a reply to a reply would never end
	}
	reply = new(dns.Msg)
	reply.SetReply(q)
	reply.RecursionAvailable, reply.Compress = true, true
	if code := unfit(q); code != dns.RcodeSuccess {
		if reply.Rcode = code; code == dns.RcodeBadVers {
			reply.SetEdns0(maxUDP, false)
		}
		return reply, false
	}
	asked := q.Question[0]
	name := dns.CanonicalName(asked.Name)
	f := z.find(name)
	zone := zoneOf(name, own)
	switch {
	case len(f.addresses) > 0:
		addresses(reply, asked, f.addresses)
	case len(f.pointers) > 0:
		if asked.Qtype == dns.TypePTR || asked.Qtype == dns.TypeANY {
			for _, p := range f.pointers {
				reply.Answer = append(reply.Answer, &dns.PTR{Hdr: header(asked.Name, dns.TypePTR), Ptr: p})
			}
		}
	case zone == localhost && name == localhost:
		addresses(reply, asked, loopback)
	case zone == "":
		return nil, true
	case name != zone && !f.below:
		reply.Rcode = dns.RcodeNameError
	case name == zone:
		ofZone(reply, asked, zone)
	}
	reply.Authoritative = true
	if len(reply.Answer) == 0 { // says how long that may be remembered (RFC 2308)
		if zone == "" { // a name of ours in somebody else's domain
			_, zone, _ = strings.Cut(name, ".")
		}
		reply.Ns = []dns.RR{authority(zone)}
	}
	return reply, false
}

// unfit says what is wrong with a query for any zone.
func unfit(q *dns.Msg) int {
	switch {
	case q.Opcode != dns.OpcodeQuery:
		return dns.RcodeNotImplemented
	case len(q.Question) != 1:
		return dns.RcodeFormatError
	}
	if o := q.IsEdns0(); o != nil && o.Version() != 0 {
		return dns.RcodeBadVers
	}
	asked := q.Question[0]
	if asked.Qclass != dns.ClassINET && asked.Qclass != dns.ClassANY {
		return dns.RcodeRefused
	}
	if asked.Qtype == dns.TypeAXFR || asked.Qtype == dns.TypeIXFR { // whole zones are told to nobody
		return dns.RcodeRefused
	}
	return dns.RcodeSuccess
}

// Names that mean the same everywhere (RFC 6761).
const (
	localhost = "localhost."
	invalid   = "invalid."
)

var loopback = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")}

// zoneOf is the zone of ours that a name is in; empty: it is somebody else's.
func zoneOf(name string, own []netip.Prefix) string {
	for _, zone := range []string{Internal, localhost, invalid} {
		if dns.IsSubDomain(zone, name) {
			return zone
		}
	}
	r, reverse := rangeOf(name)
	if !reverse || !within(r, own) && !within(r, private) {
		return ""
	}
	// The zone of the first byte always holds all of a private range or is cut out of it.
	labels := dns.SplitDomainName(name)
	return dns.Fqdn(strings.Join(labels[len(labels)-3:], "."))
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

func authority(zone string) *dns.SOA {
	return &dns.SOA{
		Hdr: header(zone, dns.TypeSOA), Ns: "ns." + Internal, Mbox: "hostmaster." + Internal,
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
	}
}

// ofZone answers what is asked of a zone itself.
func ofZone(reply *dns.Msg, asked dns.Question, zone string) {
	switch asked.Qtype {
	case dns.TypeSOA:
		reply.Answer = append(reply.Answer, authority(zone))
	case dns.TypeNS:
		reply.Answer = append(reply.Answer, &dns.NS{Hdr: header(asked.Name, dns.TypeNS), Ns: "ns." + Internal})
	}
}

func addresses(reply *dns.Msg, asked dns.Question, all []netip.Addr) {
	for _, a := range all {
		any := asked.Qtype == dns.TypeANY
		switch {
		case a.Is4() && (any || asked.Qtype == dns.TypeA):
			reply.Answer = append(reply.Answer, &dns.A{Hdr: header(asked.Name, dns.TypeA), A: a.AsSlice()})
		case a.Is6() && (any || asked.Qtype == dns.TypeAAAA):
			reply.Answer = append(reply.Answer, &dns.AAAA{Hdr: header(asked.Name, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
}

// Fit makes a reply no longer than the asker takes: by UDP what its EDNS says,
// else 512 bytes, and never more than is sent in one piece. One that does not
// fit says so, and is asked again by TCP.
func Fit(reply, q *dns.Msg, overTCP bool) {
	edns := q.IsEdns0()
	if edns != nil && reply.IsEdns0() == nil {
		reply.SetEdns0(maxUDP, edns.Do())
	} else if edns == nil { // who did not ask in EDNS is not answered in it
		reply.Extra = slices.DeleteFunc(reply.Extra, func(r dns.RR) bool { return r.Header().Rrtype == dns.TypeOPT })
	}
	limit := dns.MinMsgSize
	if edns != nil {
		limit = min(maxUDP, max(dns.MinMsgSize, int(edns.UDPSize())))
	}
	if overTCP {
		limit = dns.MaxMsgSize
	}
	reply.Truncate(limit)
}
