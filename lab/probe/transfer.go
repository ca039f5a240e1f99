// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
)

// Transfer is one open TCP connection that bytes of a known pattern go through.
type Transfer struct {
	Name     string // for people
	From, To string // namespaces
	Address  netip.Addr
	Port     uint16 // 0 takes any
	Rate     int    // bytes a second; so that it leaves room for what is measured beside it
	// Back has who was connected to send: its first packet after something was
	// forgotten is an answer, and not a question.
	Back bool
	// Patience is how long either side waits for the other, and a connection that
	// hangs for so long counts as broken; 0: 5 s.
	Patience time.Duration
}

// Moved is how a transfer went.
type Moved struct {
	Name        string `json:"name"`
	Sent        int64  `json:"sent"`     // bytes
	Received    int64  `json:"received"` // that are the right ones in the right place
	Retransmits uint32 `json:"retransmits"`
}

// Transferring is a transfer under way.
type Transferring struct {
	transfer Transfer
	sender   *net.TCPConn
	stop     chan struct{}
	work     sync.WaitGroup
	sent     int64
	received atomic.Int64
	sendErr  error
	readErr  error
}

const (
	// transferStep is how often a piece is sent.
	transferStep = 5 * time.Millisecond
	// transferPatience is what Transfer.Patience defaults to.
	transferPatience = 5 * time.Second
	// patternLength is prime, so that a piece out of place is not a right one.
	patternLength = 65521
)

// pattern is long enough to be read from any place in it.
var pattern = func() []byte {
	p := make([]byte, 2*patternLength)
	for i := range p {
		at := i % patternLength
		p[i] = byte(at*31 ^ at>>8)
	}
	return p
}()

// Start connects and begins to send; Stop ends it.
func (f Transfer) Start() (*Transferring, error) {
	f.Patience = cmp.Or(f.Patience, transferPatience)
	r := &Transferring{transfer: f, stop: make(chan struct{})}
	var listener *net.TCPListener
	err := namespace.Do(f.To, func() error {
		var err error
		listener, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(f.Address, f.Port)))
		return err
	})
	if err == nil {
		defer listener.Close()
		err = namespace.Do(f.From, func() error {
			c, err := net.DialTimeout("tcp", listener.Addr().String(), f.Patience)
			if err == nil {
				r.sender = c.(*net.TCPConn)
			}
			return err
		})
	}
	var receiver *net.TCPConn
	if err == nil {
		err = listener.SetDeadline(time.Now().Add(f.Patience))
		if err == nil {
			receiver, err = listener.AcceptTCP()
		}
	}
	if err != nil {
		if r.sender != nil {
			r.sender.Close()
		}
		return nil, fmt.Errorf("start transfer %s from %s to %s: %w", f.Name, f.From, f.To, err)
	}
	if f.Back {
		r.sender, receiver = receiver, r.sender
	}
	r.work.Go(r.send)
	r.work.Go(func() { r.read(receiver) })
	return r, nil
}

func (r *Transferring) send() {
	tick := time.NewTicker(transferStep)
	defer tick.Stop()
	piece := min(max(1, int(float64(r.transfer.Rate)*transferStep.Seconds())), patternLength)
	for {
		select {
		case <-r.stop:
			r.sendErr = r.sender.CloseWrite()
			return
		case now := <-tick.C:
			r.sender.SetWriteDeadline(now.Add(r.transfer.Patience))
			at := int(r.sent % patternLength)
			n, err := r.sender.Write(pattern[at : at+piece])
			r.sent += int64(n)
			if err != nil {
				r.sendErr = err
				r.sender.CloseWrite() // the first error matters
				return
			}
		}
	}
}

func (r *Transferring) read(c *net.TCPConn) {
	defer c.Close()
	buffer := make([]byte, patternLength)
	for {
		c.SetReadDeadline(time.Now().Add(r.transfer.Patience))
		n, err := c.Read(buffer)
		at := int(r.received.Load() % patternLength)
		if !bytes.Equal(buffer[:n], pattern[at:at+n]) {
			r.readErr = fmt.Errorf("bytes after the first %d are not those that were sent", r.received.Load())
			return
		}
		r.received.Add(int64(n))
		if err != nil {
			if !errors.Is(err, io.EOF) {
				r.readErr = err
			}
			return
		}
	}
}

// Received is how many bytes have come so far.
func (r *Transferring) Received() int64 { return r.received.Load() }

// Stop ends the transfer in order. An error says that the connection did not
// live through it, or that other bytes came than were sent.
func (r *Transferring) Stop() (Moved, error) {
	close(r.stop)
	r.work.Wait()
	defer r.sender.Close()
	m := Moved{Name: r.transfer.Name, Sent: r.sent, Received: r.received.Load()}
	if raw, err := r.sender.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { // without it the number is not told, which is all it is for
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				m.Retransmits = info.Total_retrans
			}
		})
	}
	err := errors.Join(r.sendErr, r.readErr)
	if err == nil && m.Sent != m.Received {
		err = fmt.Errorf("%d bytes were sent and %d came", m.Sent, m.Received)
	}
	if err != nil {
		err = fmt.Errorf("transfer %s from %s to %s: %w", m.Name, r.transfer.From, r.transfer.To, err)
	}
	return m, err
}
