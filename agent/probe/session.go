// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/bfd"
	"github.com/weft-network/weft/agent/frame"
	"github.com/weft-network/weft/agent/health"
	"github.com/weft-network/weft/vrouter"
)

const (
	// opening is how long a session has at least to come up before it has failed:
	// both ends speak but once a second until then, and no more often than either asks.
	opening = 5 * time.Second
	// again is when one that could not be opened is tried again.
	again = time.Second
)

// Watch implements health.Prober: it is one end of a BFD session with the
// workload (RFC 5881), which has its gateway for the other.
func (Prober) Watch(ctx context.Context, w health.Wanted, tell func(health.Outcome)) {
	for ctx.Err() == nil {
		if err := watch(ctx, w, tell); err != nil {
			tell(failure(err, w.Timeout))
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

// end is a session and the socket that it goes by.
type end struct {
	*bfd.Session
	w      health.Wanted
	fd     int
	port   uint16
	tell   func(health.Outcome)
	begun  time.Time
	told   bool
	wasUp  bool
	silent bool // nothing was ever heard
}

func watch(ctx context.Context, w health.Wanted, tell func(health.Outcome)) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open socket on the workload's interface: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "packet")
	defer socket.Close()
	if err := listen(fd, w); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = socket.SetReadDeadline(time.Unix(1, 0)) }) // fails on a closed one, which has ended
	defer stop()
	now := time.Now()
	e := &end{w: w, fd: fd, port: bfd.SourcePort + uint16(rand.N(1<<14)), tell: tell, begun: now, silent: true}
	e.Session = bfd.New(bfd.Options{
		Discriminator: rand.N[uint32](1<<32-1) + 1, Interval: w.Interval, Multiplier: uint8(min(w.Fall, 255)), Random: rand.N[time.Duration],
	}, now)
	buffer := make([]byte, snap)
	for {
		if err := e.send(e.Tick(time.Now())...); err != nil {
			return err
		}
		e.say(time.Now())
		if err := socket.SetReadDeadline(e.until(time.Now())); err != nil {
			return err
		}
		if ctx.Err() != nil { // or the deadline has been moved to the past
			return e.send(e.End())
		}
		n, err := socket.Read(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case err != nil:
			return err
		}
		if c, ok := e.heard(buffer[:n]); ok {
			e.silent = false
			if err := e.send(e.Receive(c, time.Now())...); err != nil {
				return err
			}
		}
	}
}

// opening is how long this session has to come up: as many intervals as it may be silent.
func (e *end) opening() time.Duration { return max(opening, time.Duration(e.w.Fall)*e.w.Interval) }

// until is when there is something to do, whatever is heard.
func (e *end) until(now time.Time) time.Time {
	at, ok := e.Wake()
	if !ok {
		at = now.Add(opening)
	}
	if limit := e.begun.Add(e.opening()); !e.told && limit.Before(at) {
		return limit
	}
	return at
}

// say tells what has become of the session, if that is something else.
func (e *end) say(now time.Time) {
	switch up := e.State() == bfd.Up; {
	case up && (!e.wasUp || !e.told):
		e.told, e.wasUp = true, true
		e.tell(health.Outcome{Good: true})
	case !up && e.wasUp:
		e.wasUp = false
		why := "the workload says that the BFD session is down"
		if e.Diagnostic() == bfd.Expired {
			why = "no BFD packet came in time"
		}
		e.tell(health.Outcome{Why: why})
	case !up && !e.told && now.Sub(e.begun) >= e.opening():
		e.told = true
		why := "its BFD packets do not say that it hears ours"
		if e.silent {
			why = "it sends no BFD packets to its gateway"
		}
		e.tell(health.Outcome{Why: why})
	}
}

// send writes packets out of the workload's interface.
func (e *end) send(packets ...bfd.Control) error {
	for _, c := range packets {
		p := frame.Packet{
			Source: vrouter.GatewayMAC, Destination: e.w.MAC, From: e.w.Gateway, To: e.w.Address,
			UDP: true, SourcePort: e.port, DestinationPort: bfd.Port, Hops: bfd.TTL, Payload: c.Encode(),
		}
		out := p.Build()
		if e.w.VLAN != 0 {
			out = frame.Tag(out, e.w.VLAN)
		}
		to := &unix.SockaddrLinklayer{Ifindex: e.w.Device, Halen: 6}
		copy(to.Addr[:], e.w.MAC[:])
		err := unix.Sendto(e.fd, out, unix.MSG_DONTWAIT, to)
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) { // full for a moment: as if lost on the way
			return fmt.Errorf("send out of the workload's interface: %w", err)
		}
	}
	return nil
}

// heard reads a frame from the workload: only what it sent to its gateway itself counts.
func (e *end) heard(b []byte) (c bfd.Control, ok bool) {
	protocol, from, to, rest := parse(b)
	if protocol != udp || from != e.w.Address || to != e.w.Gateway || len(rest) < udpSize || binary.BigEndian.Uint16(rest[2:]) != bfd.Port {
		return c, false
	}
	hops := b[ethernet+8]
	if from.Is6() {
		hops = b[ethernet+7]
	}
	c, err := bfd.Parse(rest[udpSize:])
	return c, err == nil && hops == bfd.TTL
}
