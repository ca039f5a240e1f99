// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/bfd"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
)

// patient is an interval and a multiplier that are enough on a busy machine.
const (
	patient    = 500 * time.Millisecond
	multiplier = 12
)

// neighbor is a workload's end of a BFD session with its gateway.
type neighbor struct {
	*bfd.Session
	in, out *net.UDPConn
	gateway netip.AddrPort
	done    chan struct{}
}

// neighbor begins one whose packets have so many hops left.
func (s served) neighbor(own netip.Addr, gateway string, hops int) *neighbor {
	n := &neighbor{gateway: netip.AddrPortFrom(netip.MustParseAddr(gateway), bfd.Port), done: make(chan struct{})}
	n.Session = bfd.New(bfd.Options{Discriminator: 7, Interval: patient, Multiplier: multiplier, Random: func(time.Duration) time.Duration { return 0 }}, time.Now())
	level, option := unix.IPPROTO_IP, unix.IP_TTL
	if own.Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS
	}
	inside(s.t, s.workload, func() (err error) {
		if n.in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(own, bfd.Port))); err != nil {
			return err
		}
		if n.out, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(own, bfd.SourcePort))); err != nil {
			return err
		}
		raw, err := n.out.SyscallConn()
		if err != nil {
			return err
		}
		var set error
		err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, hops) })
		return errors.Join(err, set)
	})
	go n.run()
	s.t.Cleanup(n.fallSilent)
	return n
}

func (n *neighbor) send(packets ...bfd.Control) {
	for _, c := range packets {
		_, _ = n.out.WriteToUDPAddrPort(c.Encode(), n.gateway) // what is lost is sent again
	}
}

// run speaks and hears until the socket is closed.
func (n *neighbor) run() {
	defer close(n.done)
	b := make([]byte, 128)
	for {
		n.send(n.Tick(time.Now())...)
		until, ok := n.Wake()
		if !ok {
			until = time.Now().Add(patient)
		}
		_ = n.in.SetReadDeadline(until) // of a closed one reading fails
		size, from, err := n.in.ReadFromUDPAddrPort(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return
		}
		if c, err := bfd.Parse(b[:size]); err == nil && from.Addr().Unmap() == n.gateway.Addr() {
			n.send(n.Receive(c, time.Now())...)
		}
	}
}

// fallSilent ends it without a word.
func (n *neighbor) fallSilent() {
	n.in.Close()
	<-n.done
	n.out.Close()
}

// leave ends it in order.
func (n *neighbor) leave() {
	n.in.Close()
	<-n.done
	n.send(n.End())
	n.out.Close()
}

// A host keeps BFD sessions with its workloads, in both families: nobody is
// there, or speaks from further away; they come up, do so again when the agent
// has started again, and one falls silent and one ends in order.
func TestWorkloadsAreWatched(t *testing.T) {
	s := serve(t, api.ModeStateful, servedIPv6)
	s.configure(servedIPv6)
	rows := servedRows(api.ModeStateful, servedIPv6)
	for id, six := range map[string]bool{"four": false, "six": true} {
		r := checkRow(id, "bfd", six, 0)
		r.GetCheck().Interval, r.GetCheck().Fall = uint32(patient.Milliseconds()), multiplier
		rows[desired.CheckRow(id)] = r
	}
	const four, six = "10.0.0.1", "fd00:a::1"
	far := []*neighbor{s.neighbor(servedIPv4, four, bfd.TTL-1), s.neighbor(servedIPv6, six, bfd.TTL-1)}
	s.controller.set(rows)
	s.controller.settled()
	const nobody = "down it sends no BFD packets to its gateway"
	s.controller.membersAre("four " + nobody + ", six " + nobody)
	for _, n := range far {
		n.fallSilent()
	}
	near := []*neighbor{s.neighbor(servedIPv4, four, bfd.TTL), s.neighbor(servedIPv6, six, bfd.TTL)}
	s.controller.membersAre("four up, six up")

	s.agent.stop(t, os.Interrupt)
	s.controller.forget()
	s.start(tunnels4[0])
	s.agent.waitReady(t)
	s.controller.membersAre("four up, six up")

	near[1].fallSilent()
	s.controller.membersAre("four up, six down no BFD packet came in time")
	near[0].leave()
	s.controller.membersAre("four down the workload says that the BFD session is down, six down no BFD packet came in time")
}
