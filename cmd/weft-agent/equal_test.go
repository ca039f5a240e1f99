// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/api/hoststream"
)

// shared are the addresses that several workloads have.
var shared = [2]netip.Addr{netip.MustParseAddr("10.0.0.100"), netip.MustParseAddr("fd00:a::100")}

// sharedRows are the rows of two hosts where workloads have the shared addresses
// as equals; each workload is on the host that placed says.
func sharedRows(host int, members ...int) map[string]*hoststream.Row {
	rows := network(100, tunnels4)[host]
	for _, ip := range shared {
		r := &hoststream.Route{Proxied: true}
		for i, n := range members {
			hop := &hoststream.EqualHop{Mac: macOf(n), Identity: portID(100, n)}
			remote := &hoststream.Remote{Host: hostID(placed[n]), Vni: 100}
			switch here := placed[n] == host; {
			case i == 0 && here:
				r.NextHop = &hoststream.Route_Port{Port: portID(100, n)}
			case i == 0:
				r.NextHop = &hoststream.Route_Remote{Remote: remote}
			case here:
				hop.NextHop = &hoststream.EqualHop_Port{Port: portID(100, n)}
			default:
				hop.NextHop = &hoststream.EqualHop_Remote{Remote: remote}
			}
			if i == 0 {
				r.Mac, r.Identity = hop.Mac, hop.Identity
			} else {
				r.Equal = append(r.Equal, hop)
			}
		}
		put(rows, route(100, ip, r))
	}
	for n, row := range rows {
		if port := row.GetPort(); port != nil {
			for _, ip := range shared {
				port.Pairs = append(port.Pairs, &hoststream.AllowedPair{Range: wire(netip.PrefixFrom(ip, ip.BitLen())), Mac: port.Mac})
			}
			rows[n] = row
		}
	}
	return rows
}

// addressOn gives loopback of a workload an address.
func addressOn(t *testing.T, ns string, ips ...netip.Addr) {
	t.Helper()
	inside(t, ns, func() error {
		lo, err := netlink.LinkByName("lo")
		for _, ip := range ips {
			a := &netlink.Addr{IPNet: netlink.NewIPNet(ip.AsSlice())}
			if ip.Is6() {
				a.Flags = syscall.IFA_F_NODAD
			}
			if err == nil {
				err = netlink.AddrAdd(lo, a)
			}
		}
		return err
	})
}

// answer makes a workload say its name to whoever sends anything by TCP.
func answer(t *testing.T, ns, name string, ips ...netip.Addr) {
	t.Helper()
	for _, ip := range ips {
		var l net.Listener
		inside(t, ns, func() (err error) {
			l, err = net.Listen("tcp", netip.AddrPortFrom(ip, 7000).String())
			return err
		})
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					for b := make([]byte, 1); ; {
						if _, err := c.Read(b); err != nil {
							return
						}
						if _, err := c.Write([]byte(name)); err != nil {
							return
						}
					}
				}()
			}
		}()
	}
}

// talk is connections to somebody who answers.
type talk struct {
	t     *testing.T
	flows []net.Conn
	who   []string // answered last
}

func converse(t *testing.T, ns string, to netip.Addr, flows int) *talk {
	t.Helper()
	k := &talk{t: t}
	inside(t, ns, func() error {
		for range flows {
			c, err := net.DialTimeout("tcp", netip.AddrPortFrom(to, 7000).String(), patience)
			if err != nil {
				return err
			}
			t.Cleanup(func() { c.Close() })
			k.flows, k.who = append(k.flows, c), append(k.who, "")
		}
		return nil
	})
	k.ask()
	return k
}

// ask sends on every connection and returns how many of them each answered.
func (k *talk) ask() map[string]int {
	k.t.Helper()
	count := map[string]int{}
	for i, c := range k.flows {
		b := make([]byte, 3)
		err := c.SetDeadline(time.Now().Add(patience))
		if err == nil {
			_, err = c.Write([]byte("?"))
		}
		if err == nil {
			_, err = c.Read(b)
		}
		if err != nil {
			k.t.Fatalf("connection %d, which %s answered: %v", i, k.who[i], err)
		}
		if k.who[i] != "" && k.who[i] != string(b) {
			k.t.Fatalf("connection %d goes from %s to %s", i, k.who[i], b)
		}
		k.who[i] = string(b)
		count[string(b)]++
	}
	return count
}

// Connections to an address that several workloads have are spread over those
// of this host and of another one; none notices that another one comes and goes.
func TestEqualNextHops(t *testing.T) {
	machines := twoHosts(t, tunnels4)
	give := func(members ...int) {
		for i, m := range machines {
			m.controller.set(sharedRows(i, members...))
			m.controller.settled()
		}
	}
	for i, m := range machines {
		m.start(tunnels4[i])
		m.agent.waitReady(t)
	}
	give(11, 12)
	ns := map[int]string{}
	for _, n := range []int{10, 11, 12} {
		ns[n] = namespace(t, fmt.Sprintf("w%d", n))
		machines[placed[n]].mustPlug(portID(100, n), ns[n])
		if n != 10 {
			addressOn(t, ns[n], shared[:]...)
			answer(t, ns[n], fmt.Sprintf("w%d", n), shared[:]...)
		}
	}
	var talks []*talk
	for _, ip := range shared {
		k := converse(t, ns[10], ip, 64)
		if n := k.ask(); n["w11"] < 16 || n["w12"] < 16 {
			t.Errorf("64 connections to %v went to %v", ip, n)
		}
		talks = append(talks, k)
	}
	give(10, 11, 12)
	for _, k := range talks {
		k.ask()
	}
	give(11, 12)
	for _, k := range talks {
		k.ask()
	}
	for _, m := range machines {
		m.agent.stop(t, syscall.SIGTERM)
		m.uninstall([]string{"lo", "u0"})
	}
}
