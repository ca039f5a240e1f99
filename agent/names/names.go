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

// Zone is the names of a project.
type Zone struct {
	forward map[string][]netip.Addr // by name, with a dot at the end
	reverse map[string][]string     // by reverse name
	parents map[string]bool         // names that exist because others are below them
}

// NewZone returns a zone without names.
func NewZone() *Zone {
	return &Zone{forward: map[string][]netip.Addr{}, reverse: map[string][]string{}, parents: map[string]bool{}}
}

// Add adds a name of some addresses. Several workloads may share a name.
func (z *Zone) Add(name string, addresses []netip.Addr) {
	name = dns.CanonicalName(name)
	if _, ok := dns.IsDomainName(name); !ok {
		return
	}
	for _, a := range addresses {
		reverse, err := dns.ReverseAddr(a.String())
		if err != nil || slices.Contains(z.forward[name], a) {
			continue
		}
		z.forward[name] = append(z.forward[name], a)
		z.reverse[reverse] = append(z.reverse[reverse], name)
	}
	for _, at := range dns.Split(name)[1:] {
		z.parents[name[at:]] = true
	}
}

// Sort puts answers into an order that does not depend on that of Add.
func (z *Zone) Sort() {
	for _, all := range z.forward {
		slices.SortFunc(all, netip.Addr.Compare)
	}
	for _, all := range z.reverse {
		slices.Sort(all)
	}
}

// Answer replies to a query, or tells that it is to be forwarded.
func (z *Zone) Answer(q *dns.Msg) (reply *dns.Msg, forward bool) {
	reply = new(dns.Msg)
	reply.SetReply(q)
	reply.RecursionAvailable = true
	switch {
	case q.Response:
		return nil, false // a reply to a reply would never end
	case q.Opcode != dns.OpcodeQuery:
		reply.Rcode = dns.RcodeNotImplemented
		return reply, false
	case len(q.Question) != 1:
		reply.Rcode = dns.RcodeFormatError
		return reply, false
	}
	if o := q.IsEdns0(); o != nil && o.Version() != 0 {
		reply.SetEdns0(maxUDP, false)
		reply.Rcode = dns.RcodeBadVers
		return reply, false
	}
	asked := q.Question[0]
	name := dns.CanonicalName(asked.Name)
	addresses, known := z.forward[name]
	pointers, reversed := z.reverse[name]
	switch {
	case known:
		reply.Authoritative = true
		z.addresses(reply, asked, addresses)
	case reversed:
		reply.Authoritative = true
		if asked.Qtype == dns.TypePTR || asked.Qtype == dns.TypeANY {
			for _, p := range pointers {
				reply.Answer = append(reply.Answer, &dns.PTR{Hdr: header(asked.Name, dns.TypePTR), Ptr: p})
			}
		}
	case name == Internal || strings.HasSuffix(name, "."+Internal):
		reply.Authoritative = true
		if !z.parents[name] && name != Internal {
			reply.Rcode = dns.RcodeNameError
		}
	default:
		return nil, true
	}
	if len(reply.Answer) == 0 { // says how long that may be remembered (RFC 2308)
		reply.Ns = []dns.RR{&dns.SOA{
			Hdr: header(Internal, dns.TypeSOA), Ns: "ns." + Internal, Mbox: "hostmaster." + Internal,
			Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
		}}
	}
	return reply, false
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

func (z *Zone) addresses(reply *dns.Msg, asked dns.Question, all []netip.Addr) {
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
