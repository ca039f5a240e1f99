// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/names"
)

const (
	// maxForwarded bounds the queries that wait for upstream servers at a time:
	// each holds a socket, and the machine's workloads share them.
	maxForwarded     = 256
	maxForwardedEach = 64 // of one workload
	// upstreamPatience is what one upstream server has, and forwardPatience all
	// together: resolvers ask again after 5 s.
	upstreamPatience = 2 * time.Second
	forwardPatience  = 4500 * time.Millisecond
	// idle closes connections of workloads that ask no more.
	idle = 10 * time.Second
	// maxConnections and maxConnectionsEach bound the connections of DNS, and
	// apart from these of metadata.
	maxConnections     = 1024
	maxConnectionsEach = 64
	// upstreamEDNS is the longest reply that is asked for by UDP.
	upstreamEDNS = 1232
)

// DNS answers the workloads' DNS.
type DNS struct {
	services  *Services
	upstreams []string // host:port
	slots     *Slots
	// first is the upstream server that answered last, which is asked first, so
	// that one that is down costs its time once.
	first atomic.Int32
}

// NewDNS returns a server that asks these others what is not a workload's name.
func NewDNS(s *Services, upstreams []netip.AddrPort) *DNS {
	d := &DNS{services: s, slots: NewSlots(maxForwarded, maxForwardedEach)}
	for _, u := range upstreams {
		d.upstreams = append(d.upstreams, u.String())
	}
	return d
}

// SystemUpstreams are the servers that the host itself asks.
func SystemUpstreams(path string) (servers []netip.AddrPort, err error) {
	conf, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("read DNS servers of the host: %w", err)
	}
	for _, s := range conf.Servers {
		if a, err := netip.ParseAddr(s); err == nil {
			servers = append(servers, netip.AddrPortFrom(a, 53))
		}
	}
	return servers, nil
}

// Run answers at the listeners until the context ends.
func (d *DNS) Run(ctx context.Context, l *Listeners) error {
	group, ctx := errgroup.WithContext(ctx)
	var servers []*dns.Server
	slots := NewSlots(maxConnections, maxConnectionsEach)
	for _, s := range l.Streams {
		servers = append(servers, &dns.Server{Listener: bounded{s, d.services, slots}, Handler: d, ReadTimeout: idle, IdleTimeout: func() time.Duration { return idle }})
	}
	for _, p := range l.Packets {
		servers = append(servers, &dns.Server{PacketConn: p, Handler: d})
	}
	for _, s := range servers {
		group.Go(func() error {
			err := s.ActivateAndServe()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("serve DNS: %w", err)
		})
	}
	group.Go(func() error { <-ctx.Done(); l.Close(); return nil })
	return group.Wait()
}

// ServeDNS implements dns.Handler.
func (d *DNS) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	f, known := d.services.whose(w.RemoteAddr())
	overTCP := w.RemoteAddr().Network() == "tcp"
	var reply *dns.Msg
	forward := false
	if !known {
		d.services.refused.Add(1)
		reply = refusal(q, dns.RcodeRefused)
	} else if reply, forward = d.services.zone(f.Project).Answer(q, f.Ranges); forward {
		reply = d.forward(q, f, overTCP)
	} else {
		d.services.named.Add(1)
	}
	if reply == nil {
		return
	}
	names.Fit(reply, q, overTCP)
	if err := w.WriteMsg(reply); err != nil {
		d.services.log.Debug("a DNS reply is not sent", "port", f.Port, "error", err)
	}
}

func refusal(q *dns.Msg, code int) *dns.Msg {
	r := new(dns.Msg)
	r.RecursionAvailable = true
	return r.SetRcode(q, code)
}

// forward asks the upstream servers in turn.
func (d *DNS) forward(q *dns.Msg, f Facts, overTCP bool) *dns.Msg {
	if !q.RecursionDesired { // we know no more ourselves
		d.services.refused.Add(1)
		return refusal(q, dns.RcodeRefused)
	}
	if !d.slots.Take(f.Port) {
		d.services.crowded.Add(1)
		d.services.unanswered.Add(1)
		return refusal(q, dns.RcodeServerFailure)
	}
	defer d.slots.Give(f.Port)
	ctx, cancel := context.WithTimeout(context.Background(), forwardPatience)
	defer cancel()
	var last *dns.Msg
	begin := int(d.first.Load())
	for i := range d.upstreams {
		n := (begin + i) % len(d.upstreams)
		r, err := ask(ctx, q, d.upstreams[n], overTCP)
		if err != nil {
			d.services.log.Debug("an upstream DNS server does not answer", "server", d.upstreams[n], "error", err)
			continue
		}
		// Who cannot or will not say is no reason to give up, if there are others.
		if last = r; r.Rcode != dns.RcodeServerFailure && r.Rcode != dns.RcodeRefused && r.Rcode != dns.RcodeNotImplemented {
			d.first.Store(int32(n))
			break
		}
	}
	if last == nil {
		d.services.unanswered.Add(1)
		return refusal(q, dns.RcodeServerFailure)
	}
	d.services.forwarded.Add(1)
	last.Id, last.RecursionAvailable = q.Id, true
	last.Question = q.Question // in the workload's own letters
	return last
}

// ask asks one server. A reply by UDP that is cut short is passed on so: the
// workload asks again by TCP, and then so do we.
func ask(ctx context.Context, q *dns.Msg, server string, overTCP bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamPatience)
	defer cancel()
	query := new(dns.Msg) // and nothing of the workload's own options (RFC 6891 section 6.1.1: they are for one hop)
	query.SetQuestion(q.Question[0].Name, q.Question[0].Qtype)
	query.Question[0].Qclass = q.Question[0].Qclass
	query.CheckingDisabled, query.AuthenticatedData = q.CheckingDisabled, q.AuthenticatedData
	edns := q.IsEdns0()
	query.SetEdns0(upstreamEDNS, edns != nil && edns.Do())
	client := dns.Client{UDPSize: upstreamEDNS}
	if overTCP {
		client.Net = "tcp"
	}
	r, _, err := client.ExchangeContext(ctx, query, server)
	if err != nil {
		return nil, err
	}
	if r.Rcode == dns.RcodeFormatError { // an old server that does not know EDNS
		query.Extra = nil
		if r, _, err = client.ExchangeContext(ctx, query, server); err != nil {
			return nil, err
		}
	}
	if len(r.Question) != 1 || r.Question[0].Qtype != q.Question[0].Qtype || !strings.EqualFold(r.Question[0].Name, q.Question[0].Name) {
		return nil, fmt.Errorf("it answers another question")
	}
	r.Extra = slices.DeleteFunc(r.Extra, func(e dns.RR) bool { return e.Header().Rrtype == dns.TypeOPT }) // its own, for this hop
	r.Compress = true
	return r, nil
}

// follow brings the zones up to changed names.
func (z zones) follow(changed map[desired.NameKey]desired.Name) zones {
	fresh := z
	for key, n := range changed {
		zone := fresh[key.Project]
		if zone == nil { // others read the map: it is replaced, never changed
			fresh = maps.Clone(fresh)
			zone = names.NewZone()
			fresh[key.Project] = zone
		}
		if len(n.Addresses) == 0 {
			zone.Remove(key.Port)
		} else {
			zone.Set(key.Port, n.Name, n.Addresses)
		}
	}
	for project, zone := range fresh {
		if zone.Len() == 0 {
			fresh = maps.Clone(fresh)
			delete(fresh, project)
		}
	}
	return fresh
}

// zones are the names of each project, by UUID.
type zones map[string]*names.Zone

// zone returns the names of a project, which may be none.
func (s *Services) zone(project string) *names.Zone {
	if z := (*s.zones.Load())[project]; z != nil {
		return z
	}
	return names.NewZone()
}
