// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-network/weft/vrouter"
)

// datagram is what a workload sends or hears.
type datagram struct {
	at   netip.AddrPort
	text string
}

// wire is a socket of the host path in memory.
type wire struct {
	net.PacketConn
	in, out chan datagram
	closed  chan struct{}
}

func (w *wire) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-w.in:
		return copy(b, d.text), net.UDPAddrFromAddrPort(d.at), nil
	case <-w.closed:
		return 0, nil, net.ErrClosed
	}
}

func (w *wire) WriteTo(b []byte, to net.Addr) (int, error) {
	w.out <- datagram{netip.MustParseAddrPort(to.String()), string(b)}
	return len(b), nil
}

// say sends until it comes back as an echo.
func (w *wire) say(t *testing.T, alias uint32, port uint16) {
	t.Helper()
	at := netip.AddrPortFrom(vrouter.AliasAddress(alias, false), port)
	text := fmt.Sprint(alias, " ", port)
	for range 20 {
		w.in <- datagram{at, text}
		for again := time.After(time.Second); ; { // a datagram may be lost, or late
			select {
			case d := <-w.out:
				if d == (datagram{at, "echo " + text}) {
					return
				}
				continue
			case <-again:
			}
			break
		}
	}
	t.Fatalf("no answer to %s", text)
}

// A workload that asks from ever new ports loses its own oldest conversations
// and nobody else's; who is no workload of this host is not heard; who gets
// another's alias begins anew; and with the listener everything ends.
func TestConversationsAreBounded(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		buffer := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(append([]byte("echo "), buffer[:n]...), from) // a test that misses it fails
		}
	}()
	s := New(nil, nil, nil, slog.New(slog.DiscardHandler))
	s.known.Store(knowledgeOf(Table{3: {Ifindex: 3, Alias: 5, Port: "greedy"}, 4: {Ifindex: 4, Alias: 6, Port: "modest"}}))
	relay := NewRelay(s, "time", "", server.LocalAddr().String())
	w := &wire{in: make(chan datagram), out: make(chan datagram, 10), closed: make(chan struct{})}
	c := &conversations{relay: relay, workload: w, all: map[string]*conversation{}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx) }()
	w.say(t, 6, 1000)
	c.mu.Lock()
	modest := c.all[net.UDPAddrFromAddrPort(netip.AddrPortFrom(vrouter.AliasAddress(6, false), 1000)).String()]
	c.mu.Unlock()
	for port := range uint16(3 * maxConversationsEach) {
		w.say(t, 5, 1000+port)
	}
	w.say(t, 6, 1000)
	c.mu.Lock()
	count := map[string]int{}
	for _, talk := range c.all {
		count[talk.port]++
	}
	kept := c.all[net.UDPAddrFromAddrPort(netip.AddrPortFrom(vrouter.AliasAddress(6, false), 1000)).String()] == modest
	c.mu.Unlock()
	if count["greedy"] != maxConversationsEach || count["modest"] != 1 || !kept {
		t.Errorf("conversations %v, that of the other workload kept: %t", count, kept)
	}
	w.in <- datagram{netip.MustParseAddrPort("169.254.64.99:1000"), "who am I"}
	w.say(t, 6, 1000) // and not the stranger: nothing is sent to who is none of ours
	if n := s.Counts().Crowded; n != 1 {
		t.Errorf("%d were counted as refused, want 1", n)
	}
	s.known.Store(knowledgeOf(Table{4: {Ifindex: 4, Alias: 6, Port: "successor"}}))
	w.say(t, 6, 1000)
	c.mu.Lock()
	heir := c.all[net.UDPAddrFromAddrPort(netip.AddrPortFrom(vrouter.AliasAddress(6, false), 1000)).String()]
	c.mu.Unlock()
	if heir == modest || heir == nil || heir.port != "successor" {
		t.Errorf("a port with the alias of another goes on with its conversation: %+v", heir)
	}
	cancel()
	close(w.closed)
	if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}
