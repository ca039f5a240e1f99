// SPDX-License-Identifier: Apache-2.0

// Package services answers what workloads ask of their own host. The answers
// are functions of packages of their own (dhcp4, dhcp6, advertise); here is
// what reads requests, knows whose they are, and sends.
package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-network/weft/agent/advertise"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/dhcp4"
	"github.com/weft-network/weft/agent/dhcp6"
	"github.com/weft-network/weft/agent/frame"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/vrouter"
)

// Sender sends a frame to the workload behind an interface.
type Sender interface {
	Send(ifindex int, frame []byte) error
}

// Requests is where requests come from; Close ends a wait with
// vrouter.ErrClosed.
type Requests interface {
	Next() (vrouter.Request, error)
	Close() error
}

// Services answers the workloads of one host.
type Services struct {
	loop     *host.Loop
	requests Requests
	sender   Sender
	log      *slog.Logger
	known    atomic.Pointer[knowledge]
	zones    atomic.Pointer[zones]
	leases   leases
	// refreshing is held while what is known is renewed.
	refreshing sync.Mutex
	// advertised is the number of the advertisements sent.
	answered, silent, failed, advertised  atomic.Uint64
	named, forwarded, unanswered, refused atomic.Uint64 // DNS
	crowded                               atomic.Uint64
}

// Counts are what was answered since the agent started.
type Counts struct {
	Answered, Silent, Failed              uint64 // DHCP, DHCPv6, router solicitations
	Advertised                            uint64 // without being asked
	Named, Forwarded, Unanswered, Refused uint64 // DNS queries
	Crowded                               uint64 // connections, conversations and queries beyond the workload's or the host's share
	Messages                              map[Message]uint64
}

// Counts returns the counts.
func (s *Services) Counts() Counts {
	return Counts{
		Answered: s.answered.Load(), Silent: s.silent.Load(), Failed: s.failed.Load(), Advertised: s.advertised.Load(),
		Named: s.named.Load(), Forwarded: s.forwarded.Load(), Unanswered: s.unanswered.Load(), Refused: s.refused.Load(),
		Crowded: s.crowded.Load(), Messages: s.leases.countsOf(),
	}
}

// New returns the services that know what the loop knows.
func New(loop *host.Loop, requests Requests, sender Sender, log *slog.Logger) *Services {
	s := &Services{loop: loop, requests: requests, sender: sender, log: log}
	s.known.Store(knowledgeOf(Table{}))
	s.zones.Store(&zones{})
	return s
}

// Run answers until the context ends.
func (s *Services) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.answerAll(ctx) })
	group.Go(func() error { <-ctx.Done(); return s.requests.Close() })
	group.Go(func() error { return s.follow(ctx) })
	return group.Wait()
}

// follow keeps the facts current and sends advertisements: at once to a port
// of which something new is known, and to all now and then.
func (s *Services) follow(ctx context.Context) error {
	listener, err := s.loop.Listen(ctx)
	if err != nil {
		return err
	}
	defer s.loop.Leave(listener)
	next := time.NewTimer(pause())
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-listener.Changed:
			before := s.known.Load().ports
			now, err := s.refresh(ctx)
			if err != nil {
				return err
			}
			for ifindex, f := range now {
				if was := before[ifindex].Advertise; !reflect.DeepEqual(f.Advertise, was) {
					f.Advertise = advertise.After(was, f.Advertise)
					s.advertise(f)
				}
			}
		case <-next.C:
			table := s.known.Load().ports
			for _, ifindex := range slices.Sorted(maps.Keys(table)) {
				s.advertise(table[ifindex])
			}
			next.Reset(pause())
		}
	}
}

// pause is random, so that hosts do not advertise in step (RFC 4861 section 6.2.4).
func pause() time.Duration {
	return advertise.MinPause + rand.N(advertise.MaxPause-advertise.MinPause)
}

func (s *Services) refresh(ctx context.Context) (now Table, err error) {
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	var changed map[desired.NameKey]desired.Name
	err = s.loop.Do(ctx, func(c *host.Core) { now, changed = tableOf(c), c.TakeNames() })
	if err == nil {
		s.known.Store(knowledgeOf(now))
		if len(changed) > 0 {
			fresh := s.zones.Load().follow(changed)
			s.zones.Store(&fresh)
		}
		s.leases.keep(now)
	}
	return now, err
}

// retryPause keeps a broken ring from spinning.
const retryPause = 100 * time.Millisecond

func (s *Services) answerAll(ctx context.Context) error {
	for {
		q, err := s.requests.Next()
		if errors.Is(err, vrouter.ErrClosed) {
			return nil
		}
		if err != nil {
			s.log.Error("a request of a workload is lost", "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(retryPause):
			}
			continue
		}
		s.answer(ctx, q)
	}
}

func (s *Services) answer(ctx context.Context, q vrouter.Request) {
	f, known := s.known.Load().ports[q.Ifindex]
	if !known { // plugged a moment ago
		table, err := s.refresh(ctx)
		if f, known = table[q.Ifindex]; err != nil || !known {
			s.silent.Add(1)
			return
		}
	}
	if address, mac, speaks := frame.Announced(q.Frame); speaks {
		s.announce(ctx, q.Ifindex, address, mac)
		return
	}
	reply, err := Reply(q.Frame, f)
	noted := s.leases.note(f, q.Frame, reply, time.Now())
	if noted.Asked == "decline" {
		s.log.Warn("a workload declines its address, for something behind its interface has it too", "port", f.Port, "client", noted.Client)
	}
	switch {
	case err == nil:
		err = s.send(f, reply)
	case errors.Is(err, dhcp4.ErrSilent), errors.Is(err, dhcp6.ErrSilent), errors.Is(err, ErrNobody):
		s.silent.Add(1)
		s.log.Debug("a request of a workload gets no answer", "port", f.Port, "reason", err)
		return
	}
	if err != nil {
		s.failed.Add(1)
		s.log.Warn("a request of a workload is not answered", "port", f.Port, "error", err)
		return
	}
	s.answered.Add(1)
}

// send sends a frame to a port: a sub-port's with its tag.
func (s *Services) send(f Facts, reply []byte) error {
	if f.VLAN != 0 {
		reply = frame.Tag(reply, f.VLAN)
	}
	return s.sender.Send(f.Device, reply)
}

// announce passes on that a workload speaks for an address.
func (s *Services) announce(ctx context.Context, ifindex int, address netip.Addr, mac frame.MAC) {
	var port string
	var accepted bool
	if err := s.loop.Do(ctx, func(c *host.Core) { port, accepted = c.Announce(ifindex, address, mac, time.Now()) }); err != nil {
		return // the agent stops; who speaks does so again
	}
	if accepted {
		s.log.Debug("a workload speaks for an address", "port", port, "address", address)
	}
}

// ErrNobody says that a frame asks for nothing that the port has.
var ErrNobody = errors.New("no service of this port is asked")

var broadcastMAC = frame.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// Reply returns the frame that answers a frame of a port: a function of both.
func Reply(request []byte, f Facts) ([]byte, error) {
	p, err := frame.Parse(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNobody, err)
	}
	answer := frame.Packet{Source: vrouter.GatewayMAC, Destination: f.MAC, UDP: p.UDP, SourcePort: p.DestinationPort, DestinationPort: p.SourcePort}
	switch {
	case p.UDP && p.From.Is4() && p.DestinationPort == dhcp4.ServerPort:
		r, err := dhcp4.Answer(p.Payload, f.DHCP4)
		if err != nil {
			return nil, err
		}
		if r.Broadcast {
			answer.Destination = broadcastMAC
		}
		answer.From, answer.To, answer.Payload = f.DHCP4.Server, r.To, r.Message
	case p.UDP && p.From.Is6() && p.DestinationPort == dhcp6.ServerPort && f.Advertise != nil:
		m, err := dhcp6.Answer(p.Payload, f.DHCP6)
		if err != nil {
			return nil, err
		}
		answer.From, answer.To, answer.Payload = advertise.Router, p.From, m
	case !p.UDP && f.Advertise != nil:
		return advertisement(f, p.From), nil
	default:
		return nil, ErrNobody
	}
	return answer.Build(), nil
}

var allNodes = netip.MustParseAddr("ff02::1")

// advertisement is a frame to one address of the workload, or to all nodes of
// its link, which is the workload alone.
func advertisement(f Facts, to netip.Addr) []byte {
	if !to.IsValid() || to.IsUnspecified() {
		to = allNodes
	}
	p := frame.Packet{Source: vrouter.GatewayMAC, Destination: f.MAC, From: advertise.Router, To: to, Payload: advertise.Message(*f.Advertise)}
	if to == allNodes {
		p.Destination = frame.MAC{0x33, 0x33, 0, 0, 0, 1}
	}
	return p.Build()
}

func (s *Services) advertise(f Facts) {
	if f.Advertise == nil {
		return
	}
	if err := s.send(f, advertisement(f, allNodes)); err != nil {
		s.failed.Add(1)
		s.log.Debug("a router advertisement is not sent", "port", f.Port, "error", err)
		return
	}
	s.advertised.Add(1)
}
