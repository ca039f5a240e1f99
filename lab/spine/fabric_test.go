// SPDX-License-Identifier: Apache-2.0

package spine

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

const fabricObjects = `
kind: domain
meta: {name: fabric}
---
kind: project
meta: {name: p, parent: fabric}
---
kind: network
meta: {name: pods, parent: fabric:p}
spec: {encapsulation: [none]}
---
kind: subnet
meta: {name: v4, parent: fabric:p:pods}
spec: {cidr: 10.244.0.0/24}
---
kind: subnet
meta: {name: v6, parent: fabric:p:pods}
spec: {cidr: "fd00:244::/64"}
---
kind: network
meta: {name: tenant, parent: fabric:p}
---
kind: subnet
meta: {name: v4, parent: fabric:p:tenant}
spec: {cidr: 10.9.0.0/24}
---
kind: subnet
meta: {name: v6, parent: fabric:p:tenant}
spec: {cidr: "fd00:9::/64"}
`

const lateObjects = `
kind: network
meta: {name: late, parent: fabric:p}
spec: {encapsulation: [none]}
---
kind: subnet
meta: {name: v4, parent: fabric:p:late}
spec: {cidr: 10.244.0.128/25}
`

// pod is a workload of the test: a namespace of that name, and its addresses.
type pod struct {
	name, network string
	host          int
	four, six     string
}

var pods = []pod{
	{"pod1", "pods", 1, "10.244.0.11", "fd00:244::11"},
	{"pod2", "pods", 2, "10.244.0.12", "fd00:244::12"},
	{"guest", "tenant", 2, "10.9.0.11", "fd00:9::11"},
}

func (p pod) objects() string {
	return fmt.Sprintf(`
kind: port
meta: {name: %[1]s, parent: fabric:p}
spec: {network: fabric:p:%[2]s}
---
kind: address
meta: {name: %[1]s-v4, parent: fabric:p:%[2]s}
spec: {subnet: fabric:p:%[2]s:v4, ip: %[3]s, port: fabric:p:%[1]s}
---
kind: address
meta: {name: %[1]s-v6, parent: fabric:p:%[2]s}
spec: {subnet: fabric:p:%[2]s:v6, ip: "%[4]s", port: fabric:p:%[1]s}
---
kind: binding
meta: {name: h%[5]d, parent: fabric:p:%[1]s}
spec: {host: h%[5]d, active: true}
`, p.name, p.network, p.four, p.six, p.host)
}

// answered waits until a ping from a namespace is.
func answered(t *testing.T, ns, to string) {
	t.Helper()
	eventually(t, "ping from "+ns+" to "+to, func() (bool, string) {
		out, err := namespace.Run(ns, "ping", "-n", "-c", "2", "-i", "0.1", "-W", "1", to)
		return err == nil, out
	})
}

// Pods of a network in the underlay on two hosts, a physical machine there, and
// a workload of another network that a policy joins, on the real programs:
// within the underlay nothing is tunnelled, agents restart without loss, and
// uninstallation leaves no route.
func TestFabricMode(t *testing.T) {
	s := start(t, "f", topology.Both)
	s.apply(t, fabricObjects)
	for _, p := range pods {
		s.apply(t, p.objects())
		if err := s.lab.AddWorkload(p.name); err != nil {
			t.Fatal(err)
		}
		if err := s.lab.Plug(t.Context(), p.host, "fabric:p:"+p.name, p.name); err != nil {
			t.Fatal(err)
		}
	}
	machine := s.physical(t)
	pod1, pod2 := s.lab.Namespace("pod1"), s.lab.Namespace("pod2")
	for _, p := range pods[:2] {
		for _, to := range []string{p.four, p.six} {
			answered(t, machine, to)
		}
	}
	for _, to := range []string{pods[1].four, pods[1].six, "192.0.2.200", "2001:db8::c8"} {
		answered(t, pod1, to)
	}
	for _, to := range []string{pods[1].four, pods[1].six} { // all that the underlay carries, and no less
		if out, err := namespace.Run(pod1, "ping", "-n", "-M", "do", "-s", "1550", "-c", "1", "-W", "2", to); err != nil {
			t.Errorf("large packets from pod1 to %s: %v\n%s", to, err, out)
		}
	}
	counters := s.weft(t, "get", "counters", "--host", "h1")
	if strings.Contains(counters, "weft-vxlan") {
		t.Errorf("packets went through the tunnel:\n%s", counters)
	}
	s.apply(t, lateObjects)
	eventually(t, "the network that overlaps stays apart", func() (bool, string) {
		out := s.weft(t, "get", "network", "fabric:p:late", "-o", "json")
		return strings.Contains(out, "overlaps"), out
	})
	testFabricJoined(t, s)
	testFabricRestart(t, s, machine, pod1, pod2)
	for n := 1; n <= 3; n++ {
		if err := s.lab.Stop(topology.HostName(n)); err != nil {
			t.Fatal(err)
		}
		if err := s.lab.Uninstall(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		for _, family := range []string{"-4", "-6"} {
			out, err := namespace.Run(s.lab.Namespace(topology.HostName(n)), "ip", family, "route", "show", "proto", "119")
			if err != nil || strings.TrimSpace(out) != "" {
				t.Errorf("routes after uninstall on h%d: %v\n%s", n, err, out)
			}
		}
	}
}

// physical puts a machine into the underlay, with its routes to the pods.
func (s *system) physical(t *testing.T) string {
	t.Helper()
	ns := s.lab.Namespace("machine")
	if err := namespace.Create(ns); err != nil {
		t.Fatal(err)
	}
	err := namespace.Veth(
		namespace.End{Namespace: s.lab.Namespace("underlay"), Name: "machine", Bridge: topology.BridgeName},
		namespace.End{Namespace: ns, Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.200/24"), netip.MustParsePrefix("2001:db8::c8/64")}}, 1600)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods[:2] {
		four, six := topology.HostAddresses(p.host)
		for to, via := range map[string]netip.Addr{p.four: four, p.six: six} {
			if _, err := namespace.Run(ns, "ip", "route", "add", to, "via", via.String()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return ns
}

// testFabricJoined joins the tenant's network with that in the underlay: its
// workload is reached, and reaches pods on its own and on another host; the
// underlay does not.
func testFabricJoined(t *testing.T, s *system) {
	s.apply(t, `
kind: network-policy
meta: {name: joined, parent: fabric:p}
spec: {rules: [{action: pass, direction: "<>"}]}
---
kind: network-policy-attachment
meta: {name: a, parent: fabric:p}
spec: {policy: fabric:p:joined, network: fabric:p:pods}
---
kind: network-policy-attachment
meta: {name: b, parent: fabric:p}
spec: {policy: fabric:p:joined, network: fabric:p:tenant}
`)
	guest := s.lab.Namespace("guest")
	for _, p := range pods[:2] {
		for i, to := range []string{p.four, p.six} {
			answered(t, guest, to)
			answered(t, s.lab.Namespace(p.name), []string{pods[2].four, pods[2].six}[i])
		}
	}
	if out, err := namespace.Run(guest, "ping", "-n", "-c", "2", "-i", "0.1", "-W", "1", "192.0.2.200"); err == nil {
		t.Errorf("a workload of another network reaches the underlay:\n%s", out)
	}
}

// testFabricRestart restarts agents under pings from pod to pod and from the machine.
func testFabricRestart(t *testing.T, s *system, machine, pod1, pod2 string) {
	type flow struct {
		cmd *exec.Cmd
		out *strings.Builder
	}
	var flows []flow
	for from, to := range map[string]string{pod1: pods[1].six, machine: pods[0].four, pod2: "192.0.2.200"} {
		f := flow{exec.CommandContext(t.Context(), "ping", "-n", "-q", "-i", "0.01", "-c", "800", to), &strings.Builder{}}
		f.cmd.Stdout = f.out
		if err := namespace.Start(from, f.cmd); err != nil {
			t.Fatal(err)
		}
		flows = append(flows, f)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for n := 1; n <= 2; n++ {
		if err := s.lab.Kill(topology.HostName(n)); err != nil {
			t.Fatal(err)
		}
		if err := s.lab.StartAgent(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range flows {
		if err := f.cmd.Wait(); err != nil || !strings.Contains(f.out.String(), " 0% packet loss") {
			t.Errorf("under restarts: %v\n%s", err, f.out)
		}
	}
}
