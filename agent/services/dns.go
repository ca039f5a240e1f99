// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/names"
)

const (
	// maxForwarded bounds the queries that wait for upstream servers at a time:
	// each holds a socket, and the machine's workloads share them.
	maxForwarded = 256
	// upstreamPatience is what one upstream server has; resolvers ask again
	// after 5 s.
	upstreamPatience = 2 * time.Second
	// idle closes connections of workloads that ask no more.
	idle = 10 * time.Second
)

// DNS answers the workloads' DNS.
type DNS struct {
	services  *Services
	upstreams []string // host:port
	slots     chan struct{}
}

// NewDNS returns a server that asks these others what is not a workload's name.
func NewDNS(s *Services, upstreams []netip.AddrPort) *DNS {
	d := &DNS{services: s, slots: make(chan struct{}, maxForwarded)}
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
	for _, s := range l.Streams {
		servers = append(servers, &dns.Server{Listener: s, Handler: d, ReadTimeout: idle, IdleTimeout: func() time.Duration { return idle }})
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
	_, overTCP := w.RemoteAddr().(interface{ AddrPort() netip.AddrPort })
	overTCP = overTCP && w.RemoteAddr().Network() == "tcp"
	var reply *dns.Msg
	forward := false
	if !known {
		d.services.refused.Add(1)
		reply = refusal(q, dns.RcodeRefused)
	} else if reply, forward = d.services.zone(f.Project).Answer(q); forward {
		reply = d.forward(q, overTCP)
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
	return r.SetRcode(q, code)
}

// forward asks the upstream servers in turn.
func (d *DNS) forward(q *dns.Msg, overTCP bool) *dns.Msg {
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	default:
		d.services.unanswered.Add(1)
		return refusal(q, dns.RcodeServerFailure)
	}
	ask := q.Copy()
	ask.Id = dns.Id()
	if ask.IsEdns0() == nil {
		ask.SetEdns0(1232, false)
	}
	client := dns.Client{Timeout: upstreamPatience}
	if overTCP {
		client.Net = "tcp"
	}
	for _, server := range d.upstreams {
		r, _, err := client.Exchange(ask, server)
		if err == nil { // cut short: the workload asks again by TCP
			d.services.forwarded.Add(1)
			r.Id = q.Id
			return r
		}
		d.services.log.Debug("an upstream DNS server does not answer", "server", server, "error", err)
	}
	d.services.unanswered.Add(1)
	return refusal(q, dns.RcodeServerFailure)
}

// zonesOf returns the names of each project.
func zonesOf(rows desired.Rows) map[string]*names.Zone {
	zones := map[string]*names.Zone{}
	for key, n := range rows.Names {
		if zones[key.Project] == nil {
			zones[key.Project] = names.NewZone()
		}
		zones[key.Project].Add(n.Name, n.Addresses)
	}
	for _, z := range zones {
		z.Sort()
	}
	return zones
}

// zone returns the names of a project, which may be none.
func (s *Services) zone(project string) *names.Zone {
	if z := (*s.zones.Load())[project]; z != nil {
		return z
	}
	return names.NewZone()
}
