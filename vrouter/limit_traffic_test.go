// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// datagrams is a socket that counts datagrams and knows the DSCP of the last one.
type datagrams struct {
	at       netip.AddrPort
	conn     *net.UDPConn
	count    int
	dscp     byte
	finished chan struct{}
}

// receive takes datagrams until stop is called; its buffer holds all that a test sends.
func (w *workload) receive(t testing.TB, address netip.Addr) *datagrams {
	t.Helper()
	d := &datagrams{finished: make(chan struct{})}
	check(t, w.do(func() (err error) {
		config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				err = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
					unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1))
				if address.Is6() {
					err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1))
				}
			})
		}}
		c, listenErr := config.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(address, 0).String())
		if listenErr == nil {
			d.conn = c.(*net.UDPConn)
		}
		return errors.Join(err, listenErr)
	}))
	t.Cleanup(func() { d.conn.Close() })
	d.at = d.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	go func() {
		defer close(d.finished)
		data, control := make([]byte, 2048), make([]byte, 256)
		for {
			_, n, _, _, err := d.conn.ReadMsgUDP(data, control)
			if err != nil {
				return // stop sets a deadline
			}
			d.count++
			messages, err := syscall.ParseSocketControlMessage(control[:n])
			if err != nil {
				return
			}
			for _, m := range messages {
				d.dscp = m.Data[0] >> 2
			}
		}
	}()
	return d
}

// stop waits for what is still in the buffer.
func (d *datagrams) stop(t testing.TB) {
	t.Helper()
	check(t, d.conn.SetReadDeadline(time.Now().Add(time.Second)))
	<-d.finished
}

// flood sends datagrams at twice a rate for a time, and tells with how many bytes
// of them a limit's model is content. The model decides by the times at which they were sent.
func (w *workload) flood(t testing.TB, to netip.AddrPort, l Limit, during time.Duration) (sent int, model *LimitModel) {
	t.Helper()
	const payload = 1200
	var c net.Conn
	check(t, w.do(func() (err error) {
		c, err = net.Dial("udp", to.String())
		return err
	}))
	defer c.Close()
	frame := make([]byte, 14+20+8+payload)
	if to.Addr().Is6() {
		frame = make([]byte, 14+40+8+payload)
	}
	binary.BigEndian.PutUint16(frame[12:], 0x88cc) // nothing that the model would mark
	model = &LimitModel{Limit: l}
	begin, data := time.Now(), make([]byte, payload)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for elapsed := time.Duration(0); elapsed < during; elapsed = time.Since(begin) {
		for due := int(2 * float64(l.Rate) * 1000 / 8 * elapsed.Seconds() / float64(len(frame))); sent < due; sent++ {
			model.Frame(limitNow(t), frame, Segments{})
			if _, err := c.Write(data); err != nil {
				t.Fatalf("send a datagram: %v", err)
			}
		}
		<-tick.C
	}
	return sent, model
}

// limitUse is what came of a limit.
func (h *testHost) limitUse(t testing.TB, ifindex int, in bool) LimitUse {
	t.Helper()
	all, err := h.d.LimitUses()
	check(t, err)
	for _, u := range all {
		if u.Ifindex == ifindex && u.In == in {
			return u
		}
	}
	t.Fatalf("no limit of interface %d (in: %t) among %+v", ifindex, in, all)
	return LimitUse{}
}

func (h *testHost) limit(t testing.TB, w *workload, l Limits) {
	t.Helper()
	l.Device = w.ifindex
	port := w.port()
	port.RedirectPeer = l.In == Limit{}
	check(t, h.d.Ports.Put(w.ifindex, port))
	check(t, h.do(func() error { return h.d.Limits.Put(w.ifindex, l) }))
}

// near tells that two numbers differ by a part of the second at most.
func near(got, want, percent uint64) bool {
	return got*100 >= want*(100-percent) && got*100 <= want*(100+percent)
}

// TestLimitedTraffic: datagrams and TCP through limits, both ways, on one host and
// across, in both families and with both attachments where the kernel has both.
func TestLimitedTraffic(t *testing.T) {
	for _, attachment := range []Attachment{AttachAuto, AttachClsact} {
		t.Run(string(attachment), func(t *testing.T) {
			s := newSiteBy(t, attachment)
			testLimitedDatagrams(t, s)
			testLimitedTCP(t, s)
			testLimitsGo(t, s)
		})
	}
}

func testLimitedDatagrams(t *testing.T, s *site) {
	limit := Limit{Rate: 2000, Mark: true, DSCP: 46} // little enough for a slow machine to send twice as much
	for name, c := range map[string]struct {
		from, to *workload
		in       bool
		family   int
	}{
		"out on one host": {s.a1, s.a2, false, 0}, "in on one host": {s.a1, s.a2, true, 1},
		"out to another host": {s.a1, s.b1, false, 1}, "in from another host": {s.b1, s.a1, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			limited, limits, reason := c.from, Limits{Out: limit}, "egress-limited"
			if c.in {
				limited, limits, reason = c.to, Limits{In: limit}, "ingress-limited"
			}
			h := limited.host
			c.from.mustReach(t, c.to.addresses[c.family])
			h.limit(t, limited, limits)
			before := dropsOf(t, h.d, limited.ifindex, reason)
			receiver := c.to.receive(t, c.to.addresses[c.family])
			sent, model := c.from.flood(t, receiver.at, limit, 2*time.Second)
			receiver.stop(t)
			use := h.limitUse(t, limited.ifindex, c.in)
			t.Logf("%d sent, %d received, DSCP %d; %+v, by the model %+v", sent, receiver.count, receiver.dscp, use.LimitCount, model.LimitCount)
			if !near(use.Bytes, model.Bytes, 5) || !near(uint64(receiver.count), model.Packets, 5) {
				t.Errorf("%d bytes passed and %d datagrams arrived, want %d and %d", use.Bytes, receiver.count, model.Bytes, model.Packets)
			}
			if receiver.dscp != limit.DSCP || use.Marked < uint64(receiver.count) {
				t.Errorf("DSCP %d arrives and %d were marked, want %d and %d at least", receiver.dscp, use.Marked, limit.DSCP, receiver.count)
			}
			dropped := dropsOf(t, h.d, limited.ifindex, reason) - before
			if last := h.limitUse(t, limited.ifindex, c.in).Limited; dropped < use.Limited || dropped > last || dropped == 0 { // neighbours speak meanwhile
				t.Errorf("%d frames counted as %s, want %d to %d", dropped, reason, use.Limited, last)
			}
			h.limit(t, limited, Limits{})
		})
	}
}

func testLimitedTCP(t *testing.T, s *site) {
	limit := Limit{Rate: 20_000}
	for name, c := range map[string]struct {
		from, to *workload
		in       bool
	}{"TCP out on one host": {s.a1, s.a2, false}, "TCP in from another host": {s.b1, s.a1, true}} {
		t.Run(name, func(t *testing.T) {
			limited, limits := c.from, Limits{Out: limit}
			if c.in {
				limited, limits = c.to, Limits{In: limit}
			}
			h := limited.host
			h.limit(t, limited, limits)
			taken, begin := c.from.pour(t, c.to, 4*time.Second)
			use := h.limitUse(t, limited.ifindex, c.in)
			elapsed := time.Since(begin)
			may := uint64(float64(limit.Rate) * 125 * (elapsed.Seconds() + 0.8)) // bytes
			t.Logf("%d bytes of TCP in %v, %d passed of the %d that may: %d %%", taken, elapsed, use.Bytes, may, use.Bytes*100/may)
			const frame = 64 << 10 // by so much a bucket is overdrawn
			if use.Bytes > may+2*frame {
				t.Errorf("%d bytes passed, want %d at most", use.Bytes, may)
			}
			if use.Bytes < may*9/10 && use.Limited == 0 || use.Bytes < may/4 && use.Limited > 0 {
				t.Errorf("%d bytes passed of the %d that may, and %d frames were limited", use.Bytes, may, use.Limited)
			}
			h.limit(t, limited, Limits{})
		})
	}
}

// pour sends by TCP for a time, and returns how much arrived, and since when it sent.
func (w *workload) pour(t testing.TB, to *workload, during time.Duration) (taken int64, begin time.Time) {
	t.Helper()
	var l net.Listener
	check(t, to.do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(to.addresses[0], 0).String())
		return err
	}))
	defer l.Close()
	var c net.Conn
	check(t, w.do(func() (err error) {
		c, err = net.DialTimeout("tcp", l.Addr().String(), 20*time.Second)
		return err
	}))
	defer c.Close()
	server, err := l.Accept()
	check(t, err)
	defer server.Close()
	begin = time.Now()
	check(t, c.SetDeadline(begin.Add(during)))
	check(t, server.SetDeadline(begin.Add(during)))
	go func() {
		data := make([]byte, 1<<16)
		for {
			if _, err := c.Write(data); err != nil {
				return // the deadline
			}
		}
	}()
	taken, err = io.Copy(io.Discard, server)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("after %d bytes: %v", taken, err)
	}
	return taken, begin
}

// testLimitsGo: what is used up outlives the process, and nothing stays of a limit that is gone.
func testLimitsGo(t *testing.T, s *site) {
	h, w := s.a, s.a1
	const rate = 100_000 // more than what this sends
	h.limit(t, w, Limits{Out: Limit{Rate: rate}, In: Limit{Mark: true, DSCP: 1}})
	w.mustReach(t, s.a2.addresses[0])
	before := h.limitUse(t, w.ifindex, false)
	h.d.Close()
	var err error
	h.d, err = Load(Options{PinDir: h.pinDir, Sizes: h.sizes, Attachment: h.attachment})
	check(t, err)
	var all map[int]Limits
	check(t, h.do(func() (err error) { all, err = h.d.Limits.All(); return err }))
	if want := (Limits{w.ifindex, Limit{Rate: rate}, Limit{Mark: true, DSCP: 1}}); len(all) != 1 || all[w.ifindex] != want {
		t.Errorf("after a restart there are %+v, want %+v", all, want)
	}
	check(t, h.do(func() error { return h.d.Limits.Put(w.ifindex, all[w.ifindex]) }))
	if after := h.limitUse(t, w.ifindex, false); after.Limit != before.Limit || after.Packets < before.Packets || before.Packets < 3 { // neighbours are asked now and then
		t.Errorf("after a restart %+v is used, before %+v", after, before)
	}
	check(t, h.do(func() error { return h.d.Limits.Delete(w.ifindex) }))
	check(t, h.d.Ports.Put(w.ifindex, w.port()))
	w.mustReach(t, s.a2.addresses[0])
	pins, err := os.ReadDir(filepath.Join(h.pinDir, linksName))
	check(t, err)
	for _, p := range pins {
		if strings.HasPrefix(p.Name(), limitOutHook.name) || strings.HasPrefix(p.Name(), limitInHook.name) {
			t.Errorf("%s stays of a limit that is gone", p.Name())
		}
	}
	check(t, h.do(func() (err error) { all, err = h.d.Limits.All(); return err }))
	uses, err := h.d.LimitUses()
	check(t, err)
	if len(all) > 0 || len(uses) > 0 {
		t.Errorf("%+v and %+v stay of a limit that is gone", all, uses)
	}
}
