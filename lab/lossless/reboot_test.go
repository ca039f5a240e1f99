// SPDX-License-Identifier: Apache-2.0

package lossless

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/tenants"
	"github.com/weft-network/weft/lab/topology"
)

// tap is an interface of the first host that is not ours.
const tap = "tap0"

// giveTap makes the interface that web-2 has as a guest of a hypervisor would:
// it is there before the port is plugged, and its other end is configured by
// somebody else.
func giveTap(t *testing.T, w *World, mac string) {
	t.Helper()
	host, guest := w.Lab.Namespace(topology.HostName(1)), tenants.Namespace(w.Lab, local)
	err := namespace.Veth(namespace.End{Namespace: host, Name: tap}, namespace.End{Namespace: guest, Name: "eth0", Addresses: []netip.Prefix{
		netip.PrefixFrom(local.V4(), local.Network.V4.Bits()), netip.PrefixFrom(local.V6(), local.Network.V6.Bits()),
	}}, 1450)
	if err == nil {
		_, err = namespace.Run(guest, "ip", "link", "set", "eth0", "address", mac)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// After a reboot, with no controller there, ports return as the tables say:
// one on an interface of somebody else by itself, one in a namespace when its
// workload is plugged again. Then nothing is lost.
func TestReboot(t *testing.T) {
	w := start(t, "r")
	ctx, l := t.Context(), w.Lab
	agent := plug.NewClient(filepath.Join(l.Dir, topology.HostName(1), "run"))
	had, err := agent.Plug(ctx, plug.Request{Port: local.Port(), Place: link.Place{Netns: namespace.Path(tenants.Namespace(l, local))}})
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Unplug(ctx, local.Port()); err != nil {
		t.Fatal(err)
	}
	giveTap(t, w, had.MAC)
	if _, err := agent.Plug(ctx, plug.Request{Port: local.Port(), Place: link.Place{Interface: tap}}); err != nil {
		t.Fatal(err)
	}
	idle := func(context.Context, *World) error { return nil }
	before, err := w.Under(ctx, rate, "before the reboot", idle)
	if err != nil {
		t.Fatal(err)
	}
	nothingLost(t, before)
	ports := portsOf(t, agent)

	if err := l.Stop(topology.Controller); err != nil {
		t.Fatal(err)
	}
	if err := l.Reboot(1); err != nil {
		t.Fatal(err)
	}
	giveTap(t, w, had.MAC) // the hypervisor starts before the agent
	if err := l.LaunchAgent(1); err != nil {
		t.Fatal(err)
	}
	answers(t, agent, func(list plug.PortList) error { return stateOf(list, local, "up") })
	answers(t, agent, func(list plug.PortList) error { return stateOf(list, near, "failed") })
	if err := l.Plug(ctx, near.Host, near.Port(), near.Short()); err != nil {
		t.Fatal(err)
	}
	if after := portsOf(t, agent); !slices.Equal(after, ports) {
		t.Errorf("ports after the reboot\n%v\nbefore\n%v", after, ports)
	}
	headless, err := w.Under(ctx, rate, "after the reboot, no controller", func(ctx context.Context, w *World) error { return w.hold() })
	if err != nil {
		t.Fatal(err)
	}
	nothingLost(t, headless)
	back, err := w.Under(ctx, rate, "the controller returns", func(ctx context.Context, w *World) error {
		if err := l.StartController(ctx); err != nil {
			return err
		}
		return l.AgentReady(ctx, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	nothingLost(t, back)
	if after := portsOf(t, agent); !slices.Equal(after, ports) {
		t.Errorf("ports with the controller\n%v\nbefore\n%v", after, ports)
	}
}

// answers waits until the agent answers and its ports are as wanted.
func answers(t *testing.T, agent *plug.Client, want func(plug.PortList) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		list, err := agent.Ports(ctx)
		if err == nil {
			err = want(list)
		}
		if err == nil {
			return
		}
		if pause(ctx, 20*time.Millisecond) != nil {
			t.Fatal(err)
		}
	}
}

func stateOf(list plug.PortList, w tenants.Workload, want string) error {
	for _, p := range list.Items {
		if p.Name == w.Port() && p.State == want {
			return nil
		}
	}
	return fmt.Errorf("port %s is not %s: %+v", w.Port(), want, list.Items)
}

// portsOf describes all ports of a host.
func portsOf(t *testing.T, agent *plug.Client) (lines []string) {
	t.Helper()
	list, err := agent.Ports(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range list.Items {
		lines = append(lines, fmt.Sprintf("%+v", p))
	}
	return lines
}
