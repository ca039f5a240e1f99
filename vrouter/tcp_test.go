// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The states of real kernels' TCP: each end's entry follows what its kernel does,
// on one host and across two.

const tcpTestPatience = 60 * time.Second // the machine may be busy

// dialogue is a connection between two workloads.
type dialogue struct {
	from, to     *workload
	there, back  *net.TCPConn // the ends of who began, and of who listened
	client, sits netip.AddrPort
}

// listen is on any port of an address of the workload.
func (w *workload) listen(t testing.TB, address netip.Addr) *net.TCPListener {
	t.Helper()
	var l *net.TCPListener
	check(t, w.do(func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(address, 0)))
		return err
	}))
	t.Cleanup(func() { l.Close() })
	check(t, l.SetDeadline(time.Now().Add(tcpTestPatience)))
	return l
}

// dial connects from a local address, whose port may have been used before.
func (w *workload) dial(local, to netip.AddrPort) (*net.TCPConn, error) {
	var c net.Conn
	err := w.do(func() (err error) {
		d := net.Dialer{Timeout: tcpTestPatience, LocalAddr: net.TCPAddrFromAddrPort(local), Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
			return errors.Join(err, failed)
		}}
		c, err = d.DialContext(context.Background(), "tcp", to.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), c.SetDeadline(time.Now().Add(tcpTestPatience))
}

// converse opens a connection, from a port of its own if local is 0.
func converse(t testing.TB, from, to *workload, family int, l *net.TCPListener, local uint16) *dialogue {
	t.Helper()
	d := &dialogue{from: from, to: to, sits: l.Addr().(*net.TCPAddr).AddrPort()}
	var err error
	d.there, err = from.dial(netip.AddrPortFrom(from.addresses[family], local), d.sits)
	check(t, err)
	t.Cleanup(func() { d.there.Close() })
	d.back, err = l.AcceptTCP()
	check(t, err)
	t.Cleanup(func() { d.back.Close() })
	check(t, d.back.SetDeadline(time.Now().Add(tcpTestPatience)))
	d.client = d.there.LocalAddr().(*net.TCPAddr).AddrPort()
	return d
}

// entry is what an end knows.
func (w *workload) entry(t testing.TB, local, remote netip.AddrPort) (found Connection) {
	t.Helper()
	want := ConnectionKey{w.ifindex, tcp, local, remote}
	check(t, w.host.d.Connections(func(k ConnectionKey, c Connection) {
		if k == want {
			found = c
		}
	}))
	return found
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(tcpTestPatience); !holds(); <-again.C {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// become waits until both ends are in a state.
func (d *dialogue) become(t testing.TB, state string) {
	t.Helper()
	eventually(t, "both ends are "+state, func() bool {
		client, server := d.from.entry(t, d.client, d.sits), d.to.entry(t, d.sits, d.client)
		return client.Port == 0 && client.State.String() == state && server.State.String() == state
	})
}

// pass sends bytes one way and reads them.
func pass(t testing.TB, from, to *net.TCPConn, size int) {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		_, err := from.Write(make([]byte, size))
		failed <- err
	}()
	_, err := io.CopyN(io.Discard, to, int64(size))
	check(t, errors.Join(err, <-failed))
}

func TestStatesOfRealTCP(t *testing.T) {
	s := newSite(t)
	for what, to := range map[string]*workload{"on one host": s.a2, "across hosts": s.b1} {
		for family, name := range []string{"IPv4", "IPv6"} {
			t.Run(what+" "+name, func(t *testing.T) {
				t.Run("close", func(t *testing.T) { halfClose(t, s.a1, to, family) })
				t.Run("reset", func(t *testing.T) { resetAndReopen(t, s.a1, to, family) })
				t.Run("refused", func(t *testing.T) { connectionRefused(t, s.a1, to, family) })
				t.Run("simultaneous", func(t *testing.T) { simultaneous(t, s.a1, to, family) })
			})
		}
	}
	t.Run("third party", func(t *testing.T) { thirdParty(t, s) })
}

// halfClose: an end that has finished hears on; both have finished when both did.
func halfClose(t *testing.T, from, to *workload, family int) {
	d := converse(t, from, to, family, to.listen(t, to.addresses[family]), 0)
	d.become(t, "established")
	pass(t, d.there, d.back, 1000)
	check(t, d.there.CloseWrite())
	_, err := io.Copy(io.Discard, d.back)
	check(t, err)
	d.become(t, "closing")
	pass(t, d.back, d.there, 8<<20)
	d.become(t, "closing")
	check(t, d.back.Close())
	_, err = io.Copy(io.Discard, d.there)
	check(t, err)
	d.become(t, "closed")
}

// resetAndReopen: a reset ends it at both ends, and its ports can be used at once.
func resetAndReopen(t *testing.T, from, to *workload, family int) {
	l := to.listen(t, to.addresses[family])
	d := converse(t, from, to, family, l, 0)
	pass(t, d.back, d.there, 3<<20) // so that the numbers have moved
	pass(t, d.there, d.back, 3<<20)
	d.become(t, "established")
	check(t, d.there.SetLinger(0))
	check(t, d.there.Close())
	d.become(t, "reset")
	if _, err := d.back.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the other end's kernel says %v", err)
	}
	again := converse(t, from, to, family, l, d.client.Port())
	again.become(t, "established")
	check(t, again.back.SetLinger(0))
	check(t, again.back.Close())
	again.become(t, "reset")
}

// connectionRefused: whose port has no listener.
func connectionRefused(t *testing.T, from, to *workload, family int) {
	l := to.listen(t, to.addresses[family])
	at := l.Addr().(*net.TCPAddr).AddrPort()
	check(t, l.Close())
	local := netip.AddrPortFrom(from.addresses[family], uint16(20000+rand.IntN(10000)))
	if _, err := from.dial(local, at); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a port without listener: %v", err)
	}
	d := dialogue{from: from, to: to, client: local, sits: at}
	d.become(t, "reset")
}

// simultaneous: both ends open the same connection. While one of them is disabled
// their SYNs are lost, and both repeat them.
func simultaneous(t *testing.T, from, to *workload, family int) {
	disabled := from.port()
	disabled.Disabled = true
	check(t, from.host.d.Ports.Put(from.ifindex, disabled))
	d := dialogue{from: from, to: to}
	d.client = netip.AddrPortFrom(from.addresses[family], uint16(30000+rand.IntN(1000)))
	d.sits = netip.AddrPortFrom(to.addresses[family], uint16(31000+rand.IntN(1000)))
	lost := func() uint64 {
		return dropsOf(t, from.host.d, from.ifindex, "port-disabled") + dropsOf(t, to.host.d, to.ifindex, "port-disabled") + dropsOf(t, from.host.d, from.host.tunnel, "port-disabled")
	}
	before := lost()
	type end struct {
		c   *net.TCPConn
		err error
	}
	ends := make(chan end, 2)
	open := func(w *workload, local, remote netip.AddrPort) {
		c, err := w.dial(local, remote)
		ends <- end{c, err}
	}
	go open(from, d.client, d.sits)
	go open(to, d.sits, d.client)
	eventually(t, "both SYNs are lost", func() bool { return lost() >= before+2 })
	check(t, from.host.d.Ports.Put(from.ifindex, from.port()))
	var conns []*net.TCPConn
	for range 2 {
		e := <-ends
		check(t, e.err)
		t.Cleanup(func() { e.c.Close() })
		conns = append(conns, e.c)
	}
	d.become(t, "established")
	pass(t, conns[0], conns[1], 1000)
	pass(t, conns[1], conns[0], 1000)
	client, server := from.entry(t, d.client, d.sits), to.entry(t, d.sits, d.client)
	if client.State&server.State&ConnectionHeardFirst != 0 { // the end whose SYN came first began
		t.Errorf("both ends say that the other began: %v and %v", client, server)
	}
}

// forge sends a segment to a workload of the second host, as if a workload of the
// first had: what somebody can who reaches the tunnel and sees nothing of the conversation.
func forge(t testing.TB, s *site, d *dialogue, flags byte, sequence uint32) {
	t.Helper()
	p := segment(flags, 0)
	binary.BigEndian.PutUint16(p, d.client.Port())
	binary.BigEndian.PutUint16(p[2:], d.sits.Port())
	binary.BigEndian.PutUint32(p[4:], sequence)
	binary.BigEndian.PutUint16(p[16:], tcpChecksum(d.client.Addr(), d.sits.Addr(), p)) // real kernels look at it
	spec := ipSpec{source: d.client.Addr(), destination: d.sits.Addr(), protocol: tcp, hops: 64, payload: p}
	frame := ethernetFrame(d.to.mac, MAC{2, 8}, spec.ethertype(), spec.build())
	var out net.Conn
	check(t, s.a.do(func() (err error) {
		out, err = net.Dial("udp", netip.AddrPortFrom(s.b.underlay[0], 4789).String())
		return err
	}))
	defer out.Close()
	_, err := out.Write(append([]byte{8, 0, 0, 0, 0, 0, byte(d.from.vrf), 0}, frame...))
	check(t, err)
}

// thirdParty: who does not see a conversation cannot end it, nor shorten its time.
func thirdParty(t *testing.T, s *site) {
	for family := range s.a1.addresses {
		d := converse(t, s.a1, s.b1, family, s.b1.listen(t, s.b1.addresses[family]), 0)
		pass(t, d.there, d.back, 1<<20)
		d.become(t, "established")
		server := func() Connection { return s.b1.entry(t, d.sits, d.client) }
		received := func() uint64 {
			counters, err := s.b.d.Counters()
			check(t, err)
			var n uint64
			for _, c := range counters {
				if c.Ifindex == s.b1.ifindex {
					n = c.TxPackets
				}
			}
			return n
		}
		expects := server().Expects
		if expects == 0 { // one in 65,536
			pass(t, d.there, d.back, 1<<17)
			expects = server().Expects
		}
		before := received()
		const many = 200
		for n := range uint16(many) {
			far := expects + 65 + n*(65536-66-64)/many // beyond what fits, and never just before
			forge(t, s, d, []byte{0x04, 0x14, 0x11, 0x01}[n%4], uint32(far)<<16|rand.Uint32N(1<<16))
			if state := server().State.String(); state != "established" {
				t.Fatalf("after a packet of a third party, %d beyond what is expected, it is %s", far-expects, state)
			}
		}
		eventually(t, "all came through", func() bool { return received() >= before+many })
		if state := server().State.String(); state != "established" {
			t.Fatalf("after resets of a third party it is %s", state)
		}
		// A reset that is near enough is taken back by the kernel that challenges it.
		forge(t, s, d, 0x04, uint32(expects)<<16+1<<17)
		pass(t, d.there, d.back, 1000)
		pass(t, d.back, d.there, 1000)
		d.become(t, "established")
		// And the one who is meant can end it still.
		check(t, d.there.SetLinger(0))
		check(t, d.there.Close())
		d.become(t, "reset")
	}
}
