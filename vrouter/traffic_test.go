// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// ping sends count requests and returns what ping printed.
func (w *workload) ping(t testing.TB, to netip.Addr, arguments ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	arguments = append([]string{"netns", "exec", w.name, "ping", "-n", "-W", "2"}, arguments...)
	out, err := exec.CommandContext(ctx, "ip", append(arguments, to.String())...).CombinedOutput()
	return string(out), err
}

func (w *workload) mustReach(t testing.TB, to netip.Addr) {
	t.Helper()
	if out, err := w.ping(t, to, "-c", "3", "-i", "0.1"); err != nil {
		t.Errorf("ping from %s to %v: %v\n%s", w.name, to, err, out)
	}
}

func (w *workload) mustNotReach(t testing.TB, to netip.Addr) {
	t.Helper()
	if out, err := w.ping(t, to, "-c", "2", "-i", "0.1", "-W", "1"); err == nil {
		t.Errorf("ping from %s to %v was answered\n%s", w.name, to, out)
	}
}

// serve accepts connections on a workload, reads each to its end, and
// answers with the name of the workload and the hash of what it read.
func (w *workload) serve(t testing.TB, address netip.Addr) netip.AddrPort {
	t.Helper()
	var l net.Listener
	check(t, w.do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(address, 0).String())
		return err
	}))
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed by the test's end
			}
			go func() {
				defer c.Close()
				h := sha256.New()
				if _, err := io.Copy(h, c); err != nil {
					return // the client sees a missing answer
				}
				fmt.Fprintf(c, "%s %x", w.name, h.Sum(nil))
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// send sends random bytes and checks that the workload meant received them.
func (w *workload) send(t testing.TB, to *workload, at netip.AddrPort, size int) error {
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	var c net.Conn
	err := w.do(func() (err error) {
		c, err = net.DialTimeout("tcp", at.String(), 10*time.Second)
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return err
	}
	if _, err := io.Copy(c, bytes.NewReader(data)); err != nil {
		return fmt.Errorf("send to %v: %w", at, err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("read answer of %v: %w", at, err)
	}
	if want := fmt.Sprintf("%s %x", to.name, sha256.Sum256(data)); string(answer) != want {
		return fmt.Errorf("answer of %v is %q, want %q", at, answer, want)
	}
	return nil
}

// dropsOf returns the count of one reason on one interface.
func dropsOf(t testing.TB, d *Datapath, ifindex int, reason string) uint64 {
	t.Helper()
	drops, err := d.Drops()
	check(t, err)
	for _, drop := range drops {
		if drop.Ifindex == ifindex && drop.Name == reason {
			return drop.Packets
		}
	}
	return 0
}

func (s *site) print(t testing.TB) {
	for _, h := range []*testHost{s.a, s.b} {
		drops, _ := h.d.Drops()
		for _, d := range drops {
			t.Logf("%s interface %d: %d %s (%s, %s)", h.name, d.Ifindex, d.Packets, d.Name, d.Stage, d.Verdict)
		}
	}
}

// TestTrafficBetweenHosts: also when one host attaches otherwise than the other.
func TestTrafficBetweenHosts(t *testing.T) {
	for _, a := range []Attachment{AttachAuto, AttachClsact} {
		t.Run(string(a), func(t *testing.T) { testTraffic(t, newSiteBy(t, a)) })
	}
}

func testTraffic(t *testing.T, s *site) {
	t.Cleanup(func() {
		if t.Failed() {
			s.print(t)
		}
	})
	pairs := []struct {
		what     string
		from, to *workload
	}{
		{"same host", s.a1, s.a2},
		{"other host", s.a1, s.b1},
		{"other host, second network with the same addresses, IPv6 underlay", s.c1, s.d1},
		{"routed to another network on another host", s.a2, s.e1},
		{"routed to another network on this host", s.b1, s.e1},
	}
	for _, p := range pairs {
		for i, family := range []string{"IPv4", "IPv6"} {
			t.Run(p.what+" "+family, func(t *testing.T) {
				p.from.mustReach(t, p.to.addresses[i])
				at := p.to.serve(t, p.to.addresses[i])
				check(t, p.from.send(t, p.to, at, 4<<20))
				back := p.from.serve(t, p.from.addresses[i])
				check(t, p.to.send(t, p.from, back, 4<<20))
			})
		}
	}
	t.Run("gateway answers", func(t *testing.T) {
		s.a1.mustReach(t, s.a1.gateways[0])
		s.a1.mustReach(t, s.a1.gateways[1])
	})
	t.Run("networks stay apart", func(t *testing.T) {
		s.c1.mustNotReach(t, s.a2.addresses[0]) // only the first network has it
		s.c1.mustNotReach(t, s.a2.addresses[1])
		s.c1.mustNotReach(t, s.e1.addresses[0])
	})
	t.Run("hop count", func(t *testing.T) {
		if out, err := s.a1.ping(t, s.b1.addresses[0], "-c", "1", "-t", "1"); err != nil {
			t.Errorf("hop count 1 inside the network: %v\n%s", err, out)
		}
		if out, err := s.a1.ping(t, s.e1.addresses[0], "-c", "1", "-t", "1", "-W", "1"); err == nil {
			t.Errorf("hop count 1 was routed\n%s", out)
		}
		if dropsOf(t, s.a.d, s.a1.ifindex, "ttl-expired") == 0 {
			t.Error("no frame was counted as ttl-expired")
		}
	})
	t.Run("fragments", s.fragments)
	t.Run("tunnel sources", s.tunnelSources)
	t.Run("plain redirect", s.plainRedirect)
	t.Run("counters", func(t *testing.T) {
		counters, err := s.a.d.Counters()
		check(t, err)
		for _, c := range counters {
			if c.RxPackets == 0 || c.TxPackets == 0 || c.RxBytes < 4<<20 || c.TxBytes < 4<<20 {
				t.Errorf("counter did not see the traffic: %+v", c)
			}
		}
	})
}

// tunnelSources takes a host the right to send, and gives it back; then it
// gives a host another address, which nobody knows and which must not matter.
func (s *site) tunnelSources(t *testing.T) {
	for i, pair := range [][2]*workload{{s.a1, s.b1}, {s.c1, s.d1}} {
		from, to := pair[0], pair[1]
		right := TunnelSource{from.vrf, s.a.underlay[i]} // the networks use one family each
		check(t, s.b.d.TunnelSources.Delete(right))
		before := dropsOf(t, s.b.d, s.b.tunnel, "unknown-tunnel-source")
		from.mustNotReach(t, to.addresses[0])
		if got := dropsOf(t, s.b.d, s.b.tunnel, "unknown-tunnel-source"); got != before+2 {
			t.Errorf("%d frames from %v counted, want 2", got-before, right.Address)
		}
		check(t, s.b.d.TunnelSources.Put(right, struct{}{}))
		from.mustReach(t, to.addresses[0])
	}
	// The kernel prefers a source on the route to the remote.
	stray := netip.MustParseAddr("192.0.2.200")
	s.a.up(t, "underlay", stray.String()+"/32")
	to := &net.IPNet{IP: s.b.underlay[0].AsSlice(), Mask: net.CIDRMask(32, 32)}
	l, err := s.a.handle.LinkByName("underlay")
	check(t, err)
	check(t, s.a.handle.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: to, Src: stray.AsSlice()}))
	s.a1.mustReach(t, s.b1.addresses[0])
	hops, err := s.a.d.NextHops.All()
	check(t, err)
	for id, hop := range hops {
		hop.Local = netip.Addr{}
		check(t, s.a.d.NextHops.Put(id, hop))
	}
	s.a1.mustNotReach(t, s.b1.addresses[0]) // and this is why the source is set
	check(t, replace(s.a.d.NextHops, hops))
}

// fragments sends what does not fit a packet.
func (s *site) fragments(t *testing.T) {
	for i := range s.a1.addresses {
		for _, to := range []netip.Addr{s.a2.addresses[i], s.b1.addresses[i], s.e1.addresses[i]} {
			if out, err := s.a1.ping(t, to, "-c", "3", "-i", "0.1", "-s", "5000"); err != nil {
				t.Errorf("large ping from %s to %v: %v\n%s", s.a1.name, to, err, out)
			}
		}
	}
}

// plainRedirect goes through the interfaces whose peers cannot be reached directly.
func (s *site) plainRedirect(t *testing.T) {
	for _, w := range []*workload{s.a1, s.a2, s.b1} {
		check(t, w.host.d.Ports.Put(w.ifindex, Port{VRF: w.vrf, MAC: w.mac, MTU: workloadMTU}))
	}
	for i := range s.a1.addresses {
		check(t, s.a1.send(t, s.a2, s.a2.serve(t, s.a2.addresses[i]), 4<<20))
		check(t, s.b1.send(t, s.a1, s.a1.serve(t, s.a1.addresses[i]), 4<<20))
	}
}

// TestRestartLosesNothing loads again under traffic: as a restarted agent
// does, and as one with another layout.
func TestRestartLosesNothing(t *testing.T) {
	for _, a := range []Attachment{AttachAuto, AttachClsact} {
		t.Run(string(a), func(t *testing.T) { testRestarts(t, newSiteBy(t, a)) })
	}
}

func testRestarts(t *testing.T, s *site) {
	s.a1.mustReach(t, s.b1.addresses[0])
	at := s.b1.serve(t, s.b1.addresses[0])
	type result struct {
		out string
		err error
	}
	pinged := make(chan result)
	sent := make(chan error)
	stop := make(chan struct{})
	go func() {
		out, err := s.a1.ping(t, s.b1.addresses[0], "-c", "200", "-i", "0.01", "-q")
		close(stop)
		pinged <- result{out, err}
	}()
	go func() { sent <- s.a1.send(t, s.b1, at, 32<<20) }()
	restarts := 0
	for running := true; running; restarts++ {
		select {
		case <-stop:
			running = false
		default:
			s.a.restart(t, restarts%4 == 3)
		}
	}
	t.Logf("%d restarts", restarts)
	if r := <-pinged; r.err != nil || !strings.Contains(r.out, "200 received") {
		t.Errorf("ping under restarts: %v\n%s", r.err, r.out)
	}
	check(t, <-sent)
	s.a1.mustReach(t, s.a2.addresses[1])
}

// restart does what a new agent process does, with another layout if asked.
func (h *testHost) restart(t testing.TB, otherLayout bool) {
	t.Helper()
	old := h.d
	if otherLayout {
		h.sizes.VNIs++
	}
	var err error
	h.d, err = Load(Options{PinDir: h.pinDir, Sizes: h.sizes, Attachment: h.attachment})
	check(t, err)
	if otherLayout {
		refill(t, h.d, old)
		check(t, h.d.SetConfig(h.config()))
	}
	ports, err := h.d.Ports.All()
	check(t, err)
	if len(ports) != 3 {
		t.Fatalf("%d ports after a restart, want 3", len(ports))
	}
	check(t, h.do(func() error {
		for ifindex := range ports {
			if err := h.d.AttachPort(ifindex); err != nil {
				return err
			}
		}
		return h.d.AttachTunnel(h.tunnel)
	}))
	check(t, h.d.Activate())
	old.Close()
	if entries, err := os.ReadDir(h.pinDir); err != nil || len(entries) != 7 {
		t.Fatalf("pin directory has %v, want links, programs, host_programs, fabric_programs, stage_programs, underlay_programs and one directory of tables (%v)", entries, err)
	}
}

func refill(t testing.TB, d, old *Datapath) {
	t.Helper()
	ports, err := old.Ports.All()
	check(t, err)
	check(t, replace(d.Ports, ports))
	addresses, err := old.PortAddresses.All()
	check(t, err)
	check(t, replace(d.PortAddresses, addresses))
	prefixes, err := old.PortPrefixes.All()
	check(t, err)
	installPrefixes(t, d, prefixes)
	hops, err := old.NextHops.All()
	check(t, err)
	check(t, replace(d.NextHops, hops))
	vnis, err := old.VNIs.All()
	check(t, err)
	check(t, replace(d.VNIs, vnis))
	sources, err := old.TunnelSources.All()
	check(t, err)
	check(t, replace(d.TunnelSources, sources))
	routes, err := old.Routes.All()
	check(t, err)
	for k, v := range routes {
		check(t, d.Routes.Put(k, v))
	}
}
