// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/safchain/ethtool"
)

// TestErrorsAreLimited sends what is answered with an error more often than
// the port may be told.
func TestErrorsAreLimited(t *testing.T) {
	const burst, more = 10, 3
	d := loadForTest(t, smallSizes)
	o := tenants()
	o.Config.ErrorInterval, o.Config.ErrorBurst = time.Hour, burst
	install(t, d, o)
	expired := packetCase{ifindex: loopback, destination: GatewayMAC, source: 2, to: 100, hops: 1}
	send := func() (answered int) {
		for range burst + more {
			frame := expired.frame(answered%2 == 0) // one limit for both families
			action, err := d.hooks[stubSlotSLOT_PORT].Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+frameRoom)})
			check(t, err)
			if action == 7 {
				answered++
			}
		}
		return answered
	}
	if n := send(); n != burst {
		t.Errorf("%d errors at once, want %d", n, burst)
	}
	if expired, limited := dropsOf(t, d, loopback, "ttl-expired"), dropsOf(t, d, loopback, "error-limited"); expired != burst || limited != more {
		t.Errorf("%d counted as ttl-expired and %d as error-limited, want %d and %d", expired, limited, burst, more)
	}
	check(t, d.Forget(loopback)) // the next port there begins anew
	if n := send(); n != burst {
		t.Errorf("%d errors of a new port, want %d", n, burst)
	}
	o.Config.ErrorInterval = 0
	check(t, d.SetConfig(o.Config))
	check(t, d.Forget(loopback))
	if n := send(); n != burst+more {
		t.Errorf("%d errors without a limit, want %d", n, burst+more)
	}
	// An interval later there is another one, and the burst fills up again.
	o.Config.ErrorInterval = time.Millisecond
	check(t, d.SetConfig(o.Config))
	check(t, d.errorTimes.Put(loopback, 1))
	if n := send(); n < burst {
		t.Errorf("%d errors of a port that was quiet, want %d or more", n, burst)
	}
}

// TestNoErrorAboutErrors tries what RFC 1122 and RFC 4443 leave unanswered,
// and beside each what is answered.
func TestNoErrorAboutErrors(t *testing.T) {
	d := tablesForTest(t, smallSizes)
	install(t, d, tenants())
	tracer, err := d.NewTracer()
	check(t, err)
	defer tracer.Close()
	four, six, to4, to6 := poolAddress(false, 2), poolAddress(true, 2), poolAddress(false, 100), poolAddress(true, 100)
	body := make([]byte, 32)
	for what, c := range map[string]struct {
		packet   ipSpec
		answered bool
	}{
		"UDP":                      {ipSpec{source: four, destination: to4, protocol: 17, payload: body}, true},
		"UDP over IPv6":            {ipSpec{source: six, destination: to6, protocol: 17, payload: body}, true},
		"echo request":             {ipSpec{source: four, destination: to4, protocol: 1, payload: icmp4(8, 0, body)}, true},
		"echo request over IPv6":   {ipSpec{source: six, destination: to6, protocol: 58, payload: icmp6(six, to6, 128, 0, body)}, true},
		"ICMP unreachable":         {ipSpec{source: four, destination: to4, protocol: 1, payload: icmp4(3, 3, body)}, false},
		"ICMP time exceeded":       {ipSpec{source: four, destination: to4, protocol: 1, payload: icmp4(11, 0, body)}, false},
		"ICMPv6 unreachable":       {ipSpec{source: six, destination: to6, protocol: 58, payload: icmp6(six, to6, 1, 0, body)}, false},
		"ICMPv6 after an option":   {ipSpec{source: six, destination: to6, protocol: 58, extensions: []byte{60}, payload: icmp6(six, to6, 3, 0, body)}, false},
		"last ICMPv6 error":        {ipSpec{source: six, destination: to6, protocol: 58, payload: icmp6(six, to6, 127, 0, body)}, false},
		"first fragment":           {ipSpec{source: four, destination: to4, protocol: 17, fragment: 0x2000, payload: body}, true},
		"first fragment of ICMP":   {ipSpec{source: four, destination: to4, protocol: 1, fragment: 0x2000, payload: icmp4(8, 0, body)}, false},
		"later fragment":           {ipSpec{source: four, destination: to4, protocol: 17, fragment: 0x0010, payload: body}, false},
		"later fragment over IPv6": {ipSpec{source: six, destination: to6, protocol: 17, extensions: []byte{44}, fragment: 0x0010, payload: body}, false},
	} {
		c.packet.hops = 1
		got, err := tracer.FromPort(1, ethernetFrame(GatewayMAC, portMAC(1), c.packet.ethertype(), c.packet.build()))
		check(t, err)
		if got.Reason != "ttl-expired" || (got.Verdict == "answered") != c.answered {
			t.Errorf("%s: %s", what, show(got))
		}
	}
}

// tool runs a program in the workload's namespace.
func (w *workload) tool(t testing.TB, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", w.name}, argv...)...).CombinedOutput()
	if err != nil {
		t.Logf("%v: %v", argv, err)
	}
	return string(out)
}

// TestErrorsReachTools finds the way and its MTU with the tools people use.
func TestErrorsReachTools(t *testing.T) {
	s := newSite(t)
	t.Cleanup(func() {
		if t.Failed() {
			s.print(t)
		}
	})
	for i, family := range []string{"IPv4", "IPv6"} {
		gateway, to := s.a1.gateways[i].String(), s.e1.addresses[i].String()
		t.Run("traceroute "+family, func(t *testing.T) {
			for _, method := range []string{"-U", "-I", "-T"} {
				out := s.a1.tool(t, "traceroute", "-n", "-m", "4", "-w", "2", method, to)
				hops := regexp.MustCompile(`(?m)^ *\d+ +(\S+)`).FindAllStringSubmatch(out, -1)
				if len(hops) != 2 || hops[0][1] != gateway || hops[1][1] != to || strings.Contains(out, "*") {
					t.Errorf("traceroute %s: want %s, then %s\n%s", method, gateway, to, out)
				}
			}
			if out := s.a1.tool(t, "traceroute", "-n", "-m", "4", "-w", "2", s.b1.addresses[i].String()); strings.Contains(out, gateway+" ") {
				t.Errorf("a router shows inside the network\n%s", out)
			}
		})
		t.Run("tracepath "+family, func(t *testing.T) {
			out := s.a1.tool(t, "tracepath", "-n", "-m", "4", to)
			if !strings.Contains(out, gateway) || !strings.Contains(out, "reached") || !strings.Contains(out, "Resume: pmtu 1400") {
				t.Errorf("want %s and a path MTU of 1400\n%s", gateway, out)
			}
		})
	}
	t.Run("network with a smaller MTU", func(t *testing.T) { s.smallerNetwork(t) })
	t.Run("tunnel with a smaller MTU", func(t *testing.T) { s.smallerTunnel(t) })
	t.Run("port with a smaller MTU", func(t *testing.T) { s.smallerPort(t) })
}

const smaller = 1300

// smallerNetwork lets e1's network take less than a1's.
func (s *site) smallerNetwork(t *testing.T) {
	port := s.e1.port()
	port.MTU = smaller
	check(t, s.b.d.Ports.Put(s.e1.ifindex, port))
	s.eachRoute(t, s.a, s.e1, func(r Route, _ NextHop) { r.MTU = smaller; s.put(t, s.a, s.e1, r) })
	for i := range s.a1.addresses {
		s.finds(t, s.a1, s.e1, i)
	}
	if n := dropsOf(t, s.b.d, s.b.tunnel, "too-big"); n != 0 {
		t.Errorf("%d packets went to the other host only to be dropped there", n)
	}
}

// smallerTunnel lets the tunnel carry less, inside the network too.
func (s *site) smallerTunnel(t *testing.T) {
	s.eachRoute(t, s.a, s.b1, func(r Route, next NextHop) {
		next.MTU = smaller
		check(t, s.a.d.NextHops.Put(r.NextHop, next))
	})
	for i := range s.a1.addresses {
		s.finds(t, s.a1, s.b1, i)
	}
}

// smallerPort is on one host.
func (s *site) smallerPort(t *testing.T) {
	port := s.a2.port()
	port.MTU = smaller
	check(t, s.a.d.Ports.Put(s.a2.ifindex, port))
	for i := range s.a1.addresses {
		s.finds(t, s.a1, s.a2, i)
	}
}

// eachRoute visits the routes to a workload in the first network of a host.
func (s *site) eachRoute(t *testing.T, h *testHost, to *workload, visit func(Route, NextHop)) {
	t.Helper()
	routes, err := h.d.Routes.All()
	check(t, err)
	hops, err := h.d.NextHops.All()
	check(t, err)
	route := routes[RouteKey{1, host(to.addresses[0])}]
	visit(route, hops[route.NextHop])
}

func (s *site) put(t *testing.T, h *testHost, to *workload, r Route) {
	t.Helper()
	for _, address := range to.addresses {
		check(t, h.d.Routes.Put(RouteKey{1, host(address)}, r))
	}
}

// finds expects that a workload learns what fits, and then keeps to it. The
// sender does not offload segmentation, so each of its frames is a packet.
func (s *site) finds(t *testing.T, from, to *workload, i int) {
	t.Helper()
	header, target := []int{28, 48}[i], to.addresses[i]
	check(t, from.do(func() error {
		e, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer e.Close()
		return e.Change("eth0", map[string]bool{"tx-generic-segmentation": false, "tx-tcp-segmentation": false, "tx-tcp6-segmentation": false})
	}))
	ping := func(size int, arguments ...string) (string, error) {
		return from.ping(t, target, append([]string{"-c", "2", "-i", "0.1", "-W", "1", "-s", strconv.Itoa(size - header)}, arguments...)...)
	}
	check(t, from.send(t, to, to.serve(t, target), 1<<20)) // a stream meets it first
	if out, err := ping(smaller, "-M", "do"); err != nil {
		t.Errorf("ping of %d bytes to %v: %v\n%s", smaller, target, err, out)
	}
	if out, err := ping(smaller+1, "-M", "do"); err == nil || !strings.Contains(out, strconv.Itoa(smaller)) {
		t.Errorf("ping of %d bytes to %v was not told of %d: %v\n%s", smaller+1, target, smaller, err, out)
	}
	if out := from.tool(t, "tracepath", "-n", "-m", "4", target.String()); !strings.Contains(out, "Resume: pmtu "+strconv.Itoa(smaller)) {
		t.Errorf("tracepath to %v does not find %d\n%s", target, smaller, out)
	}
	if out, err := ping(smaller+50, "-M", "dont"); err != nil { // fragments, now that it knows
		t.Errorf("ping of %d bytes that may be fragmented, to %v: %v\n%s", smaller+50, target, err, out)
	}
}
