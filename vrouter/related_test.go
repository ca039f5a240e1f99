// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/vrouter/rules"
)

// ICMP errors of real kernels about real conversations, through policy that
// passes the conversation in one direction and nothing else.

const relatedPort = 5000 // the only one that may be spoken to

// oneWay lets a workload begin UDP to the port, or be spoken to at it, and denies
// everything else in both directions.
func (w *workload) oneWay(t testing.TB, begins rules.Direction) {
	t.Helper()
	nothing := rules.Ruleset{Outside: rules.Deny, Identified: rules.Deny}
	passes := nothing
	passes.Rules = []rules.Rule{{
		Action: rules.Pass, Remote: rules.Anybody,
		Services: []rules.Service{{Protocol: 17, Ports: &rules.Range{First: relatedPort, Last: relatedPort}}},
	}}
	policy := PortPolicy{}
	for direction := range rules.Directions {
		r := compiled(nothing)
		if direction == begins {
			r = compiled(passes)
		}
		check(t, w.host.d.PutRuleset(r))
		policy.Rulesets[direction][rules.SecurityGroup] = r.ID
	}
	check(t, w.host.d.PortPolicies.Put(w.ifindex, policy))
	port := w.port()
	port.Policed = true
	check(t, w.host.d.Ports.Put(w.ifindex, port))
}

// speak opens a connected socket that hears all errors, and says something.
func (w *workload) speak(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	var c net.Conn
	check(t, w.do(func() (err error) {
		c, err = net.Dial("udp", to.String())
		return err
	}))
	t.Cleanup(func() { c.Close() })
	u := c.(*net.UDPConn)
	control(t, u, func(fd int) error {
		return errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1), ignoring(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1), to.Addr().Is4()))
	})
	check(t, u.SetDeadline(time.Now().Add(tcpTestPatience)))
	_, err := u.Write([]byte("who is there"))
	check(t, err)
	return u
}

func ignoring(err error, ignored bool) error {
	if ignored {
		return nil
	}
	return err
}

func control(t testing.TB, c syscall.Conn, does func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	check(t, err)
	var failed error
	check(t, raw.Control(func(fd uintptr) { failed = does(int(fd)) }))
	check(t, failed)
}

// complain sends an ICMP error about a packet of UDP that the other workload sent,
// or is said to have sent.
func (w *workload) complain(t testing.TB, family int, kind, code byte, rest uint32, from, to netip.AddrPort) {
	t.Helper()
	head := make([]byte, 12)
	binary.BigEndian.PutUint16(head, from.Port())
	binary.BigEndian.PutUint16(head[2:], to.Port())
	binary.BigEndian.PutUint16(head[4:], 12)
	quoted := ipSpec{source: from.Addr(), destination: to.Addr(), protocol: 17, hops: 64, payload: head}
	body := binary.BigEndian.AppendUint32(nil, rest)
	body = append(body, quoted.build()...)
	network, message := "ip4:icmp", icmp4(kind, code, body)
	if family == 1 {
		network, message = "ip6:ipv6-icmp", icmp6(to.Addr(), from.Addr(), kind, code, body)
	}
	check(t, w.do(func() error {
		c, err := net.Dial(network, from.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(message)
		return err
	}))
}

func TestErrorsOfConversations(t *testing.T) {
	s := newSite(t)
	s.a1.oneWay(t, rules.Egress)
	for what, to := range map[string]*workload{"on one host": s.a2, "across hosts": s.b1} {
		to.oneWay(t, rules.Ingress)
		for family, name := range []string{"IPv4", "IPv6"} {
			t.Run(what+" "+name, func(t *testing.T) {
				at := netip.AddrPortFrom(to.addresses[family], relatedPort)
				t.Run("port unreachable", func(t *testing.T) {
					if _, err := s.a1.speak(t, at).Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
						t.Errorf("nobody listens, and who speaks hears %v", err)
					}
				})
				t.Run("time exceeded", func(t *testing.T) { timeExceeded(t, s.a1, to, family) })
				t.Run("too big", func(t *testing.T) { tooBig(t, s.a1, to, family) })
				t.Run("about nothing", func(t *testing.T) { aboutNothing(t, s.a1, to, family) })
			})
		}
	}
}

// listening makes the receiver's kernel take what it gets.
func listening(t testing.TB, to *workload, family int) netip.AddrPort {
	t.Helper()
	at := netip.AddrPortFrom(to.addresses[family], relatedPort)
	var l net.PacketConn
	check(t, to.do(func() (err error) {
		l, err = net.ListenPacket("udp", at.String())
		return err
	}))
	t.Cleanup(func() { l.Close() })
	return at
}

func timeExceeded(t *testing.T, from, to *workload, family int) {
	at := listening(t, to, family)
	c := from.speak(t, at)
	local := c.LocalAddr().(*net.UDPAddr).AddrPort()
	to.complain(t, family, []byte{11, 3}[family], 0, 0, local, at)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("the sender hears %v", err)
	}
}

func tooBig(t *testing.T, from, to *workload, family int) {
	const mtu = 1300
	at := listening(t, to, family)
	c := from.speak(t, at)
	local := c.LocalAddr().(*net.UDPAddr).AddrPort()
	to.complain(t, family, []byte{3, 2}[family], []byte{4, 0}[family], mtu, local, at)
	option := [][2]int{{unix.IPPROTO_IP, unix.IP_MTU}, {unix.IPPROTO_IPV6, unix.IPV6_MTU}}[family]
	eventually(t, fmt.Sprintf("the sender's kernel knows that %d bytes is what fits", mtu), func() (knows bool) {
		control(t, c, func(fd int) error {
			got, err := unix.GetsockoptInt(fd, option[0], option[1])
			knows = got == mtu
			return err
		})
		return knows
	})
}

// aboutNothing: errors that quote no conversation are asked as what they are, at the
// end that sends them, and no further.
func aboutNothing(t *testing.T, from, to *workload, family int) {
	at := listening(t, to, family)
	c := from.speak(t, at)
	local := c.LocalAddr().(*net.UDPAddr).AddrPort()
	never := netip.AddrPortFrom(local.Addr(), local.Port()^1)
	before := dropsOf(t, to.host.d, to.ifindex, "policy-denied")
	to.complain(t, family, []byte{3, 1}[family], []byte{3, 4}[family], 0, never, at)
	denied := func(what string, want uint64) {
		t.Helper()
		eventually(t, what+" is denied", func() bool { return dropsOf(t, to.host.d, to.ifindex, "policy-denied") == before+want })
	}
	denied("an error about a conversation that is none", 1)
	to.complain(t, family, []byte{9, 139}[family], 0, 0, local, at) // no error, whatever it quotes
	denied("other ICMP", 2)
	check(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	if _, err := c.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("the sender hears %v", err)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}
