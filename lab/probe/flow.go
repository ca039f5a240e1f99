// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
)

// Flow is a stream of numbered datagrams from one namespace to another.
type Flow struct {
	Name     string // for people
	From, To string // namespaces
	Address  netip.Addr
	Rate     int // datagrams a second
	Size     int // bytes of payload; 0 means 64
}

// Count is how a flow went. A datagram is lost once the flow has stopped and
// it has not come for a while; Overflowed are those of them that came as far as
// the receiver's socket, which had no room: the network did not lose them.
type Count struct {
	Name       string        `json:"name"`
	Sent       uint64        `json:"sent"`
	Received   uint64        `json:"received"` // each number once
	Duplicated uint64        `json:"duplicated"`
	Reordered  uint64        `json:"reordered"` // came after a higher number
	Overflowed uint64        `json:"overflowed"`
	Refused    uint64        `json:"refused"` // attempts to send that the sender's own kernel refused; not among Sent
	Pause      time.Duration `json:"pause"`   // longest time between two that came
}

// Lost are the datagrams that did not come.
func (c Count) Lost() uint64 { return c.Sent - c.Received }

// LostOnTheWay are those that did not even reach the receiver's socket.
func (c Count) LostOnTheWay() uint64 { return c.Lost() - min(c.Lost(), c.Overflowed) }

// Flowing is a flow under way.
type Flowing struct {
	flow     Flow
	sender   *net.UDPConn
	receiver *net.UDPConn
	id       uint64
	stop     chan struct{}
	sending  sync.WaitGroup
	reading  sync.WaitGroup
	sent     atomic.Uint64
	refused  atomic.Uint64

	mu      sync.Mutex // guards what follows
	tally   tally
	arrived time.Time
	pause   time.Duration
}

// tally remembers which numbers came.
type tally struct {
	seen                            []uint64 // a bit a number
	next                            uint64   // one more than the highest
	received, duplicated, reordered uint64
}

func (t *tally) note(number uint64) {
	word, bit := number/64, uint64(1)<<(number%64)
	for uint64(len(t.seen)) <= word {
		t.seen = append(t.seen, 0)
	}
	switch {
	case t.seen[word]&bit != 0:
		t.duplicated++
		return
	case number < t.next:
		t.reordered++
	default:
		t.next = number + 1
	}
	t.seen[word] |= bit
	t.received++
}

const (
	flowHeader = 16 // id, number
	// maxNumber bounds what a strange datagram can make the tally grow to: at
	// 100,000 a second a flow may last eleven hours.
	maxNumber = 1 << 32
	// flowBuffer is asked for at the receiver, so that its own pauses cost
	// nothing: a datagram of 64 bytes takes about 800 of it.
	flowBuffer = 64 << 20
	// quiet is how long nothing must come for the flow to be over.
	quiet = 300 * time.Millisecond
)

var flowIDs atomic.Uint64

// Start begins to send; Stop ends it.
func (f Flow) Start() (*Flowing, error) {
	if f.Size == 0 {
		f.Size = 64
	}
	if f.Rate < 1 || f.Size < flowHeader {
		return nil, fmt.Errorf("start flow %s: a rate of %d and a size of %d bytes cannot be sent", f.Name, f.Rate, f.Size)
	}
	r := &Flowing{flow: f, id: uint64(time.Now().UnixNano()) + flowIDs.Add(1), stop: make(chan struct{})}
	err := namespace.Do(f.To, func() error {
		var err error
		r.receiver, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.Address, 0)))
		return err
	})
	if err == nil {
		err = onSocket(r.receiver, func(fd int) error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, flowBuffer)
		})
	}
	if err == nil {
		err = namespace.Do(f.From, func() error {
			var err error
			r.sender, err = net.DialUDP("udp", nil, r.receiver.LocalAddr().(*net.UDPAddr))
			return err
		})
	}
	if err != nil {
		r.close()
		return nil, fmt.Errorf("start flow %s from %s to %s: %w", f.Name, f.From, f.To, err)
	}
	r.reading.Go(r.read)
	r.sending.Go(r.send)
	return r, nil
}

func (r *Flowing) close() {
	for _, c := range []*net.UDPConn{r.sender, r.receiver} {
		if c != nil {
			c.Close()
		}
	}
}

func onSocket(c *net.UDPConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// send keeps the rate in steps of a millisecond. What it is late by it makes
// up for in small bursts only, and else leaves out: a burst would fill queues
// that the rate alone does not.
func (r *Flowing) send() {
	const step, maxBurst = time.Millisecond, 4
	tick := time.NewTicker(step)
	defer tick.Stop()
	payload := make([]byte, r.flow.Size)
	binary.BigEndian.PutUint64(payload, r.id)
	begin, given := time.Now(), 0
	for {
		select {
		case <-r.stop:
			return
		case now := <-tick.C:
			due := int(now.Sub(begin).Seconds() * float64(r.flow.Rate))
			if burst := maxBurst * max(1, r.flow.Rate/1000); due-given > burst {
				given = due - burst
			}
			for ; given < due; given++ {
				binary.BigEndian.PutUint64(payload[8:], r.sent.Load())
				if _, err := r.sender.Write(payload); err != nil {
					r.refused.Add(1)
					continue
				}
				r.sent.Add(1)
			}
		}
	}
}

func (r *Flowing) read() {
	payload := make([]byte, max(r.flow.Size, flowHeader))
	for {
		n, err := r.receiver.Read(payload)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != r.flow.Size || binary.BigEndian.Uint64(payload) != r.id {
			continue // somebody else's
		}
		if number := binary.BigEndian.Uint64(payload[8:]); number < maxNumber {
			r.mu.Lock()
			now := time.Now()
			if !r.arrived.IsZero() {
				r.pause = max(r.pause, now.Sub(r.arrived))
			}
			r.arrived = now
			r.tally.note(number)
			r.mu.Unlock()
		}
	}
}

// Received is how many have come so far.
func (r *Flowing) Received() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tally.received
}

// Stop ends the flow, waits for what is under way and returns how it went.
func (r *Flowing) Stop() (Count, error) {
	defer r.close()
	close(r.stop)
	r.sending.Wait()
	r.drain()
	dropped, err := r.overflowed()
	r.close()
	r.reading.Wait()
	if err != nil {
		return Count{}, fmt.Errorf("read what the receiver of flow %s had no room for: %w", r.flow.Name, err)
	}
	return Count{
		Name: r.flow.Name, Sent: r.sent.Load(), Refused: r.refused.Load(), Overflowed: dropped, Pause: r.pause,
		Received: r.tally.received, Duplicated: r.tally.duplicated, Reordered: r.tally.reordered,
	}, nil
}

// drain waits until all has come, or nothing more for a while.
func (r *Flowing) drain() {
	tick := time.NewTicker(quiet / 10)
	defer tick.Stop()
	last, since := r.Received(), time.Now()
	for now := range tick.C {
		have := r.Received()
		if have != last {
			last, since = have, now
		}
		if have >= r.sent.Load() || now.Sub(since) > quiet {
			return
		}
	}
}

// overflowed reads the receiver's own counter (SO_MEMINFO, what SO_RXQ_OVFL
// tells with the next datagram, which may never come).
func (r *Flowing) overflowed() (dropped uint64, err error) {
	var values [9]uint32 // SK_MEMINFO_VARS of linux/sock_diag.h
	const drops = 8      // SK_MEMINFO_DROPS
	size := uint32(unsafe.Sizeof(values))
	err = onSocket(r.receiver, func(fd int) error {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&values)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	return uint64(values[drops]), err
}
