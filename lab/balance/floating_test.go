// SPDX-License-Identifier: Apache-2.0

package balance

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/probe"
	"github.com/weft-network/weft/lab/topology"
)

// floatingWorld is a public network with a pool, and one that is joined with it.
const floatingWorld = `kind: network-policy
meta: {name: public, parent: "red:shop"}
spec:
  rules:
  - {action: pass, direction: "<>", source: {network: "red:shop:near"}, destination: {network: "red:shop:outside"}}
  - {action: pass, direction: "<>", source: {network: "red:shop:outside"}, destination: {network: "red:shop:outside"}}
---
kind: network-policy-attachment
meta: {name: near, parent: "red:shop"}
spec: {policy: "red:shop:public", network: "red:shop:near"}
---
kind: network-policy-attachment
meta: {name: outside, parent: "red:shop"}
spec: {policy: "red:shop:public", network: "red:shop:outside"}
---
kind: floating-ip-pool
meta: {name: public, parent: "red:shop"}
spec: {network: "red:shop:outside"}
`

// floatingAddress is one of the public network, by its last part.
func floatingAddress(f Family, n byte) netip.Addr {
	a := f.Subnets["outside"].Addr().AsSlice()
	a[len(a)-1] = n
	address, _ := netip.AddrFromSlice(a)
	return address
}

// The last parts of floating addresses: whose they are is in TestFloating.
const (
	ofP1    = 201
	ofP2    = 202
	ofP3    = 203 // an alias
	moreP1  = 204
	movable = 205
)

// give gives a floating address of each family to a workload.
func (s *system) give(t *testing.T, n int, to, mode string) {
	t.Helper()
	for i, f := range Families {
		name := fmt.Sprintf("f%d-%d", n, i)
		s.apply(t, fmt.Sprintf(`kind: address
meta: {name: %s, parent: "red:shop:outside"}
spec: {ip: "%v"}
---
kind: floating-ip
meta: {name: %s, parent: "red:shop"}
spec: {pool: "red:shop:public", address: "red:shop:outside:%s"}
`, name, floatingAddress(f, byte(n)), name, name))
	}
	s.associate(t, n, to, mode)
}

func (s *system) associate(t *testing.T, n int, to, mode string) {
	t.Helper()
	text := ""
	for i := range Families {
		text += fmt.Sprintf("---\nkind: floating-ip-association\nmeta: {name: f%d-%d-%s, parent: \"red:shop\"}\nspec: {floatingIP: \"red:shop:f%d-%d\", port: \"red:shop:%s\", mode: %s}\n", n, i, to, n, i, to, mode)
	}
	s.apply(t, text)
}

// Floating addresses lead to their workloads and are seen of them, from the command line
// to the packets of real programs on three hosts.
func TestFloating(t *testing.T) {
	s := start(t)
	s.apply(t, floatingWorld)
	s.give(t, ofP1, "p1", "nat")
	s.give(t, moreP1, "p1", "nat")
	s.give(t, ofP2, "p2", "nat")
	s.give(t, ofP3, "p3", "alias")
	s.give(t, movable, "p4", "nat")
	for _, f := range Families {
		if out, err := s.run(t, Find("red", "p3"), "ip", "address", "add", netip.PrefixFrom(floatingAddress(f, ofP3), f.Virtual.BitLen()).String(), "dev", "lo"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	eventually(t, func() error {
		out, err := s.lab.Weft(t.Context(), "get", "floating-ip-association", "-p", "red:shop", "-o", "yaml")
		if err == nil && strings.Count(out, "reason: serving") < 10 {
			err = fmt.Errorf("not all serve:\n%s", out)
		}
		return err
	})
	for _, f := range Families {
		t.Run(f.Name, func(t *testing.T) {
			t.Run("inward", func(t *testing.T) { s.inward(t, f) })
			t.Run("outward", func(t *testing.T) { s.outward(t, f) })
			t.Run("between", func(t *testing.T) { s.between(t, f) })
			t.Run("alias", func(t *testing.T) { s.alias(t, f) })
			t.Run("refused", func(t *testing.T) { s.floatingRefuses(t, f) })
		})
	}
	t.Run("moves", s.floatingMoves)
	t.Run("agents restart", s.floatingLives)
}

// sees has a workload call by TCP and UDP, who must answer and see it as said.
func (s *system) sees(t *testing.T, from Workload, to netip.Addr, who string, as netip.Addr) {
	t.Helper()
	ns, http := s.namespace(from), browser(s.namespace(from), false, patience)
	for what, one := range map[string]func() (answer, error){
		"tcp": func() (answer, error) { return get(http, netip.AddrPortFrom(to, httpPort)) },
		"udp": func() (answer, error) { return ask(ns, netip.AddrPortFrom(to, udpPort), patience) },
	} {
		a, err := one()
		if err != nil || a.who != who || a.client.Addr() != as {
			t.Errorf("%s calls %v by %s: %s answers and sees %v, not %s and %v: %v", from.Short(), to, what, a.who, a.client, who, as, err)
		}
	}
}

func (s *system) pings(t *testing.T, from Workload, to netip.Addr) {
	t.Helper()
	if out, err := s.run(t, from, "ping", "-n", "-c", "2", "-i", "0.2", "-W", "5", to.String()); err != nil || !strings.Contains(out, "from "+to.String()) {
		t.Errorf("%s pings %v: %v\n%s", from.Short(), to, err, out)
	}
}

// inward: clients of the public network and of one that is joined with it, on the
// workload's host and on others, are seen with their own addresses.
func (s *system) inward(t *testing.T, f Family) {
	for _, name := range []string{"o1", "o2", "n1"} {
		c := Find("red", name)
		for n, who := range map[byte]string{ofP1: "red-p1", moreP1: "red-p1", ofP2: "red-p2"} {
			s.sees(t, c, floatingAddress(f, n), who, c.Address(f))
			s.pings(t, c, floatingAddress(f, n))
		}
	}
}

// outward: what a workload begins is seen of the first of its floating addresses.
func (s *system) outward(t *testing.T, f Family) {
	for from, n := range map[string]byte{"p1": ofP1, "p2": ofP2} {
		for _, to := range []string{"o1", "o2"} {
			s.sees(t, Find("red", from), Find("red", to).Address(f), "red-"+to, floatingAddress(f, n))
			s.pings(t, Find("red", from), Find("red", to).Address(f))
		}
		// At home it is seen as it is.
		s.sees(t, Find("red", from), Find("red", "p4").Address(f), "red-p4", Find("red", from).Address(f))
	}
}

// between: two that both have one speak by them, and one with itself.
func (s *system) between(t *testing.T, f Family) {
	s.sees(t, Find("red", "p1"), floatingAddress(f, ofP2), "red-p2", floatingAddress(f, ofP1))
	s.sees(t, Find("red", "p2"), floatingAddress(f, ofP1), "red-p1", floatingAddress(f, ofP2))
	s.sees(t, Find("red", "p4"), floatingAddress(f, moreP1), "red-p1", floatingAddress(f, movable))
	for from, n := range map[string]byte{"p1": ofP1, "p2": ofP2} {
		s.sees(t, Find("red", from), floatingAddress(f, n), "red-"+from, floatingAddress(f, n))
		s.pings(t, Find("red", from), floatingAddress(f, n))
	}
}

// alias: the workload has the floating address itself.
func (s *system) alias(t *testing.T, f Family) {
	p3, alias := Find("red", "p3"), floatingAddress(f, ofP3)
	for _, name := range []string{"o1", "o2", "n1"} {
		// By UDP a server that is bound to no address answers from its first one.
		a, err := get(browser(s.namespace(Find("red", name)), false, patience), netip.AddrPortFrom(alias, httpPort))
		if err != nil || a.who != "red-p3" || a.client.Addr() != Find("red", name).Address(f) {
			t.Errorf("%s calls the alias: %+v %v", name, a, err)
		}
		s.pings(t, Find("red", name), alias)
	}
	var c net.Conn
	err := namespace.Do(s.namespace(p3), func() (err error) {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(alias, 0))}
		c, err = d.DialContext(context.Background(), "udp", netip.AddrPortFrom(Find("red", "o1").Address(f), udpPort).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 256)
	eventually(t, func() error {
		if _, err := c.Write([]byte("who?")); err != nil {
			return err
		}
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		if a, err := answerOf(string(buf[:n])); err != nil || a.who != "red-o1" || a.client.Addr() != alias {
			t.Errorf("from the alias: %+v %v", a, err)
		}
		return nil
	})
}

// floatingRefuses: errors of a workload come to who asked, from the floating address.
func (s *system) floatingRefuses(t *testing.T, f Family) {
	for _, name := range []string{"o1", "o2", "n1", "p2"} {
		found, err := probe.Sweep(s.namespace(Find("red", name)), []probe.Attempt{
			{To: floatingAddress(f, ofP1), Protocol: probe.ProtocolTCP, Port: 81}, {To: floatingAddress(f, ofP1), Protocol: probe.ProtocolUDP, Port: 54},
		}, patience)
		if err != nil {
			t.Fatal(err)
		}
		for i, what := range []string{"tcp/81", "udp/54"} {
			if found[i].Finding != probe.Refused {
				t.Errorf("%s calls %s: %v", name, what, found[i])
			}
		}
	}
}

// floatingMoves: while it is called, an address goes from one workload to another one on
// another host. Nobody hears the former one after the new one.
func (s *system) floatingMoves(t *testing.T) {
	type one struct {
		stop chan struct{}
		done chan []string // who answered, in order
	}
	var all []one
	for _, f := range Families {
		for _, name := range []string{"o1", "o2", "n1"} {
			l := one{make(chan struct{}), make(chan []string, 1)}
			all = append(all, l)
			http := browser(s.namespace(Find("red", name)), false, short)
			go func() {
				var heard []string
				for {
					select {
					case <-l.stop:
						l.done <- heard
						return
					case <-time.After(pace):
					}
					if a, err := get(http, netip.AddrPortFrom(floatingAddress(f, movable), httpPort)); err == nil && (len(heard) == 0 || heard[len(heard)-1] != a.who) {
						heard = append(heard, a.who)
					}
				}
			}()
		}
	}
	time.Sleep(short)
	for i := range Families {
		s.weft(t, "delete", "floating-ip-association", "-p", "red:shop", fmt.Sprintf("f%d-%d-p4", movable, i))
	}
	s.associate(t, movable, "p2", "nat")
	for _, f := range Families {
		s.eventuallyHeard(t, f)
	}
	time.Sleep(short)
	for _, l := range all {
		close(l.stop)
		if heard := <-l.done; strings.Join(heard, " ") != "red-p4 red-p2" {
			t.Errorf("who moved was heard as %v", heard)
		}
	}
}

func (s *system) eventuallyHeard(t *testing.T, f Family) {
	t.Helper()
	for _, name := range []string{"o1", "o2", "n1"} {
		eventually(t, func() error {
			a, err := get(browser(s.namespace(Find("red", name)), false, short), netip.AddrPortFrom(floatingAddress(f, movable), httpPort))
			if err == nil && a.who != "red-p2" {
				err = fmt.Errorf("%s hears %s", name, a.who)
			}
			return err
		})
	}
}

// floatingLives: nothing fails while agents are away.
func (s *system) floatingLives(t *testing.T) {
	var loads []*load
	for _, f := range Families {
		for i, name := range []string{"o1", "o2", "n1", "p2"} {
			loads = append(loads, put(s.namespace(Find("red", name)), netip.AddrPortFrom(floatingAddress(f, ofP1), httpPort), 1, i%2 == 0, patience))
		}
	}
	for n := 1; n <= Hosts; n++ {
		if err := s.lab.Stop(topology.HostName(n)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(short)
		if err := s.lab.StartAgent(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(short)
	for _, l := range loads {
		served, failures := l.end()
		if len(failures) > 0 || served["red-p1"] == 0 || len(served) != 1 {
			t.Errorf("served by %v, and %d requests failed while agents restarted: %v", served, len(failures), failures[:min(1, len(failures))])
		}
	}
}
