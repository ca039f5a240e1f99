// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// Connections asks the host that had the port, if this controller knows of one.
func (c *controller) Connections(ctx context.Context, q *hoststream.ConnectionsRequest) (*hoststream.ConnectionsReply, error) {
	if c.gate != nil && q.Port == portID(100, 10) {
		select {
		case <-c.gate:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if c.former == nil {
		return nil, status.Error(codes.Unimplemented, "this controller is older")
	}
	reply := c.former.ask(api.HostTablePortConnections + "?port=" + q.Port)
	if reply.Error != "" {
		return nil, status.Error(codes.Internal, reply.Error)
	}
	return &hoststream.ConnectionsReply{Rows: reply.Rows}, nil
}

// listening are the rows of a network in which workload 10 is on this host, lets
// others begin conversations on port 8080, and may begin none itself: this is what
// becomes of those.
func listening(at int, refused string) (rows [2]map[string]*hoststream.Row) {
	rows = network(100, tunnels4)
	port := hoststream.NumberRange{First: 8080, Last: 8080}
	in := passRule("d:p:http", 0, &hoststream.Rule{Remote: &hoststream.Rule_Anybody{Anybody: &hoststream.Anybody{}}})
	in.Services = []*hoststream.RuleService{{Protocol: proto.Uint32(6), Ports: &port}, {Protocol: proto.Uint32(17), Ports: &port}}
	for host, all := range rows {
		delete(all, desired.PortRow(portID(100, 10)))
		addWorkload(all, 100, 10, at, host)
		if at != host {
			continue
		}
		for id, rules := range map[string][]*hoststream.Rule{"in": {in}, "out": nil} {
			all[desired.RulesetRow(id)] = &hoststream.Row{Body: &hoststream.Row_Ruleset{Ruleset: &hoststream.Ruleset{
				Ruleset: id, Name: "security-groups d:p:web", Outside: refused, Identified: refused, Rules: rules,
			}}}
		}
		p := all[desired.PortRow(portID(100, 10))].GetPort()
		p.Identity = whoIs(10)
		p.Rulesets = []*hoststream.PortRuleset{{Layer: "security-group", Ingress: true, Ruleset: "in"}, {Layer: "security-group", Ruleset: "out"}}
	}
	return rows
}

// dialogue is a conversation that a client began with workload 10: what the server
// has last to say, and how the client hears it.
type dialogue struct {
	name   string
	say    func(word string) error
	client net.Conn
}

// talks opens a conversation with workload 10 from each client, by TCP and UDP
// and both families.
func talks(t *testing.T, w map[int]string, clients ...int) (all []dialogue) {
	t.Helper()
	accepted := make(chan net.Conn, 16)
	var l net.Listener
	var packets net.PacketConn
	inside(t, w[10], func() (err error) {
		if l, err = net.Listen("tcp", ":8080"); err == nil {
			packets, err = net.ListenPacket("udp", ":8080")
		}
		return err
	})
	t.Cleanup(func() { l.Close(); packets.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for _, n := range clients {
		for _, ip := range ips(10) {
			c, err := dial(t, w[n], ip, 8080, answered)
			if err != nil {
				t.Fatal(err)
			}
			server := <-accepted
			t.Cleanup(func() { c.Close(); server.Close() })
			takeTurns(t, server, c)
			all = append(all, dialogue{fmt.Sprintf("tcp from %d to %v", n, ip), func(word string) error { _, err := server.Write([]byte(word)); return err }, c})
			all = append(all, datagrams(t, w[n], ip, packets))
		}
	}
	return all
}

// takeTurns lets both ends say something, the client first and last. After it the
// client is silent until it hears something: all that it said is acknowledged, and
// it does not ask whether the server is alive.
func takeTurns(t *testing.T, server, client net.Conn) {
	t.Helper()
	for _, turn := range [][2]net.Conn{{client, server}, {server, client}, {client, server}} {
		if _, err := turn[0].Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := hears(turn[1], "x", answered); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []net.Conn{client, server} {
		if err := c.(*net.TCPConn).SetKeepAlive(false); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := client.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		waits, failed := 0, error(nil)
		err := raw.Control(func(fd uintptr) { waits, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
		if err = errors.Join(err, failed); err == nil && waits > 0 {
			err = fmt.Errorf("%d bytes from %v are not acknowledged", waits, client.LocalAddr())
		}
		return err
	})
}

// datagrams begins a conversation by UDP, of one question and one answer: the
// server's end of it is half-open.
func datagrams(t *testing.T, from string, to netip.Addr, server net.PacketConn) dialogue {
	t.Helper()
	var c net.Conn
	inside(t, from, func() (err error) {
		c, err = net.Dial("udp", netip.AddrPortFrom(to, 8080).String())
		return err
	})
	t.Cleanup(func() { c.Close() })
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 8)
	_ = server.SetReadDeadline(time.Now().Add(answered))
	_, back, err := server.ReadFrom(buffer)
	if err == nil {
		_, err = server.WriteTo([]byte("x"), back)
	}
	if err == nil {
		err = hears(c, "x", answered)
	}
	if err != nil {
		t.Fatalf("udp to %v: %v", to, err)
	}
	return dialogue{fmt.Sprintf("udp from %s to %v", from, to), func(word string) error { _, err := server.WriteTo([]byte(word), back); return err }, c}
}

// hears waits for a word.
func hears(c net.Conn, word string, within time.Duration) error {
	_ = c.SetReadDeadline(time.Now().Add(within))
	heard := make([]byte, len(word))
	if _, err := c.Read(heard); err != nil || string(heard) != word {
		return errors.Join(fmt.Errorf("%v hears %q, want %q", c.LocalAddr(), heard, word), err)
	}
	return nil
}

// A workload that may only be spoken to moves to another host, with its device
// made anew there. The conversations that others began with it go on, though it
// is the workload that says the next word: its new host has been told who began.
// Without that they end there, as something that it begins.
func TestPortMovesWithItsConversations(t *testing.T) {
	for _, along := range []bool{true, false} {
		t.Run(fmt.Sprintf("told %t", along), func(t *testing.T) { moves(t, along) })
	}
}

// What the workload says before its new host is told is not answered by a reset,
// though rules reject what it begins, and the conversations go on.
func TestWhatMovesIsNotReset(t *testing.T) {
	m := twoHosts(t, tunnels4)
	m[1].controller.former, m[1].controller.gate = m[0].controller, make(chan struct{})
	open, move := conversing(t, m, "reject")
	began := time.Now()
	w := move()
	before := m[1].ended("policy-denied")
	for _, o := range open {
		_ = o.say("y") // if it was reset, those after it say so
	}
	eventually(t, func() error {
		if denied := m[1].ended("policy-denied") - before; denied < len(open) {
			return fmt.Errorf("%d packets ended as policy-denied, want one of each of %d conversations", denied, len(open))
		}
		return nil
	})
	close(m[1].controller.gate)
	table := api.HostTablePortConnections + "?port=" + portID(100, 10)
	eventually(t, func() error {
		if n := len(m[1].controller.ask(table).Rows); n < len(open) {
			return fmt.Errorf("%d connections are known, want %d", n, len(open))
		}
		return nil
	})
	if took := time.Since(began); took > 2*time.Second {
		t.Logf("the host was told after %v, and promises nothing beyond 2 s", took)
		return
	}
	goOn(t, open)
	if _, err := dial(t, w[10], ips(12)[0], 9, answered); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("what the workload begins is to be rejected: %v", err)
	}
}

// conversing is workload 10 on the first of two hosts with conversations that others
// began. Move takes it to the second.
func conversing(t *testing.T, m [2]*machine, refused string) (open []dialogue, move func() map[int]string) {
	set := func(at int) {
		rows := listening(at, refused)
		for i := range m {
			m[i].controller.set(rows[i])
		}
		for i := range m {
			m[i].controller.settled()
		}
	}
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
	}
	set(0)
	w := map[int]string{}
	for n, at := range placed {
		w[n] = namespace(t, fmt.Sprintf("w%d", n))
		m[at].mustPlug(portID(100, n), w[n])
	}
	return talks(t, w, 11, 12), func() map[int]string {
		if err := plug.NewClient(m[0].dir+"/run").Unplug(t.Context(), portID(100, 10)); err != nil {
			t.Fatal(err)
		}
		set(1)
		m[1].mustPlug(portID(100, 10), w[10])
		return w
	}
}

func moves(t *testing.T, along bool) {
	m := twoHosts(t, tunnels4)
	if along {
		m[1].controller.former = m[0].controller
	}
	open, move := conversing(t, m, "deny")
	w := move()
	if !along {
		endThere(t, m[1], open)
		return
	}
	goOn(t, open)
	beginsNothing(t, w)
}

// goOn checks that conversations go on, in which the workload says the next word.
func goOn(t *testing.T, open []dialogue) {
	t.Helper()
	for _, o := range open {
		eventually(t, func() error { // datagrams are lost until the new host is told
			if err := o.say("y"); err != nil {
				return err
			}
			return hears(o.client, "y", silent)
		})
	}
}

// endThere checks that what the workload says is denied.
func endThere(t *testing.T, m *machine, open []dialogue) {
	t.Helper()
	before := m.ended("policy-denied")
	for _, o := range open {
		_ = o.say("y") // denied, of which the socket may hear
	}
	eventually(t, func() error {
		if denied := m.ended("policy-denied") - before; denied < len(open) {
			return fmt.Errorf("%d packets ended as policy-denied, want one of each of %d conversations", denied, len(open))
		}
		return nil
	})
	for _, o := range open {
		if hears(o.client, "y", 200*time.Millisecond) == nil {
			t.Errorf("%s goes on though nobody told the new host who began", o.name)
		}
	}
}

// beginsNothing fails the test if workload 10 may begin a conversation: nobody
// listens there, which 12 would say.
func beginsNothing(t *testing.T, w map[int]string) {
	t.Helper()
	_, err := dial(t, w[10], ips(12)[0], 9, silent)
	if late, is := errors.AsType[net.Error](err); !is || !late.Timeout() {
		t.Errorf("the workload begins a conversation: %v", err)
	}
}
