// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	lab "github.com/weft-network/weft/lab/namespace"
)

// guest is a workload behind a tap, as a virtual machine is: a namespace whose
// eth0 is a tap, too, with frames carried between both by hand.
type guest struct {
	t   *testing.T
	tap lab.Tap
	ns  string
	n   int
	end func()
}

// boot opens both taps and configures the guest's as workload number n.
func (g *guest) boot() {
	g.t.Helper()
	outer, err := g.tap.Open()
	if err != nil {
		g.t.Fatal(err)
	}
	inner, err := lab.Tap{Namespace: g.ns, Name: "eth0", Header: g.tap.Header}.Open()
	if err != nil {
		g.t.Fatal(err)
	}
	g.end = lab.Join(outer, inner)
	inside(g.t, g.ns, func() error { return configureGuest(g.n) })
}

func configureGuest(n int) error {
	l, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.LinkSetHardwareAddr(l, macOf(n)), netlink.LinkSetMTU(l, 1450)); err != nil {
		return err
	}
	for i, ip := range ips(n) {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask([]int{24, 64}[i], ip.BitLen())}}
		if ip.Is6() {
			a.Flags = syscall.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

// transfer sends bytes by TCP from one namespace to another and compares what
// arrived.
func transfer(t *testing.T, from, to string, at netip.Addr, size int) {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	var l net.Listener
	inside(t, to, func() (err error) { l, err = net.Listen("tcp", netip.AddrPortFrom(at, 0).String()); return err })
	defer l.Close()
	sum := make(chan [32]byte, 1)
	go func() {
		defer close(sum)
		c, err := l.Accept()
		if err != nil {
			return // closed by the other side's failure
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience)) // of a socket that is open
		received, _ := io.ReadAll(c)                // what is missing shows in the sum
		sum <- sha256.Sum256(received)
	}()
	inside(t, from, func() error {
		c, err := net.DialTimeout("tcp", l.Addr().String(), patience)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		_, err = io.Copy(c, bytes.NewReader(data))
		return err
	})
	if got := <-sum; got != sha256.Sum256(data) {
		t.Errorf("from %s to %v: not what was sent arrived", from, at)
	}
}

// A tap that somebody else made is a workload's interface: with and without
// offload of checksums and segmentation, to the same host and across; it may
// vanish and come back under its name, lose its carrier and get another MTU.
func TestTaps(t *testing.T) {
	for _, header := range []bool{true, false} {
		t.Run(fmt.Sprintf("header %t", header), func(t *testing.T) {
			m := twoHosts(t, tunnels4)
			for i := range m {
				m[i].start(tunnels4[i])
				m[i].agent.waitReady(t)
			}
			together(m, tunnels4, 7)
			a, b := namespace(t, "wa"), namespace(t, "wb")
			m[0].mustPlug(portID(7, 12), a)
			m[1].mustPlug(portID(7, 11), b)
			g := &guest{t: t, n: 10, ns: namespace(t, "vm"), tap: lab.Tap{Namespace: m[0].ns, Name: "tap0123", Header: header}}
			g.boot()
			defer func() { g.end() }()
			request := plug.Request{Port: portID(7, 10), Place: link.Place{Interface: "tap0123"}, TimeoutSeconds: 10}
			if _, err := plug.NewClient(m[0].dir+"/run").Plug(context.Background(), request); err != nil {
				t.Fatal(err)
			}
			g.works(a, b)
			g.end() // the tap goes with its last user
			m[0].controller.state(portID(7, 10), api.PortFailed)
			g.boot()
			m[0].controller.state(portID(7, 10), api.PortUp)
			g.works(a, b)
			g.narrow(a)
		})
	}
}

// works tries traffic to the same host and across, both ways.
func (g *guest) works(near, far string) {
	g.t.Helper()
	for i := range 2 {
		reaches(g.t, g.ns, ips(1)[i].String())
		reaches(g.t, near, ips(g.n)[i].String())
		reaches(g.t, far, ips(g.n)[i].String())
		transfer(g.t, near, g.ns, ips(g.n)[i], 2<<20)
		transfer(g.t, far, g.ns, ips(g.n)[i], 2<<20)
		transfer(g.t, g.ns, near, ips(12)[i], 2<<20)
		transfer(g.t, g.ns, far, ips(11)[i], 2<<20)
	}
}

// narrow gives the tap a smaller MTU a while after its making, as some do:
// senders are told.
func (g *guest) narrow(near string) {
	g.t.Helper()
	inside(g.t, g.tap.Namespace, func() error {
		l, err := netlink.LinkByName(g.tap.Name)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(l, 1300)
	})
	eventually(g.t, func() error {
		out, err := ping(g.t, near, ips(g.n)[0].String(), "-c", "1", "-W", "1", "-M", "do", "-s", "1350")
		if err == nil || !bytes.Contains([]byte(out), []byte("mtu = 1300")) && !bytes.Contains([]byte(out), []byte("mtu=1300")) {
			return fmt.Errorf("a packet too big for the tap: %v\n%s", err, out)
		}
		return nil
	})
}

// A tap that stays while nobody has it open loses its carrier and gets it back.
func TestTapThatStays(t *testing.T) {
	m := twoHosts(t, tunnels4)
	m[0].start(tunnels4[0])
	m[0].agent.waitReady(t)
	m[0].controller.set(network(7, tunnels4)[0])
	m[0].controller.settled()
	a := namespace(t, "wa")
	m[0].mustPlug(portID(7, 12), a)
	g := &guest{t: t, n: 10, ns: namespace(t, "vm"), tap: lab.Tap{Namespace: m[0].ns, Name: "tap0123", Header: true, Persist: true}}
	g.boot()
	request := plug.Request{Port: portID(7, 10), Place: link.Place{Interface: "tap0123"}, TimeoutSeconds: 10}
	if _, err := plug.NewClient(m[0].dir+"/run").Plug(context.Background(), request); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		// The kernel notes a carrier that came back up to a second late.
		eventually(t, func() error { _, err := ping(t, a, ips(10)[0].String(), "-c", "1", "-W", "1"); return err })
		reaches(t, a, ips(10)[0].String())
		reaches(t, g.ns, ips(12)[1].String())
		g.end()
		unreachable(t, a, ips(10)[0].String())
		m[0].controller.state(portID(7, 10), api.PortUp) // it is there, without carrier
		g.boot()
	}
	g.end()
	if err := plug.NewClient(m[0].dir+"/run").Unplug(context.Background(), portID(7, 10)); err != nil {
		t.Fatal(err)
	}
	inside(t, m[0].ns, func() error {
		l, err := netlink.LinkByName("tap0123")
		if err == nil && l.Attrs().Flags&net.FlagUp != 0 {
			err = errors.New("an unplugged tap is up and its guest reaches the host")
		}
		return err
	})
}
