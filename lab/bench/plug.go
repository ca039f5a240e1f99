// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// PlugOptions say how much is plugged.
type PlugOptions struct {
	Ports  int // at most maxPorts
	Rounds int // pairs of streams, with and without changes
}

// maxPorts have addresses in the benchmark's /24 after the first three.
const maxPorts = 200

// PlugReport is how fast ports come and what that costs the others.
type PlugReport struct {
	Settings Settings `json:"settings"`
	Ports    int      `json:"ports"`
	// Near and Far are the times from asking for an existing interface to be
	// plugged to the first answer to its workload from one on the same host and
	// from one on another, in milliseconds, sorted.
	Near []float64 `json:"nearMillis"`
	Far  []float64 `json:"farMillis"`
	// RSS is the agent's resident memory with all ports, bytes.
	RSS int64 `json:"agentRSS"`
	// Memory is that of the kernel's tables with all ports.
	Memory Memory `json:"kernelMegabytes"`
	Churn  Churn  `json:"churn"`
}

// MeasurePlug plugs many ports on one host, times each until its first packet,
// then changes ports at a rate beside a stream.
func MeasurePlug(ctx context.Context, o Options, p PlugOptions) (report PlugReport, err error) {
	if p.Ports < 1 || p.Ports > maxPorts {
		return report, fmt.Errorf("measure plugs: %d ports are not from 1 to %d", p.Ports, maxPorts)
	}
	l, err := topology.New(topology.Options{Run: o.Run, Dir: o.Dir, Bin: o.Bin, Hosts: 2, UnderlayMTU: underlayMTU})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	paths, err := wire(ctx, l, o)
	if err != nil {
		return report, err
	}
	if report.Settings, err = settings(l, o); err != nil {
		return report, err
	}
	report.Ports = p.Ports
	stop, err := startEchoers(l, paths, receiverCPU)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	guests, err := makeGuests(ctx, l, p.Ports)
	if err != nil {
		return report, err
	}
	for i, g := range guests {
		target, into := hostAt(inner4, 12).Addr(), &report.Near // w2 on h1
		if i%2 == 1 {
			target, into = hostAt(inner4, 13).Addr(), &report.Far // w3 on h2
		}
		took, err := g.firstPacket(ctx, target)
		if err != nil {
			return report, err
		}
		*into = append(*into, float64(took.Microseconds())/1e3)
	}
	slices.Sort(report.Near)
	slices.Sort(report.Far)
	o.Progress("%d ports plugged\n", p.Ports)
	agent, err := l.Process(topology.HostName(1))
	if err != nil {
		return report, err
	}
	report.RSS = agent.RSS()
	if report.Memory, err = kernelMemory(ctx, l, 1); err != nil {
		return report, err
	}
	report.Churn, err = measureChurn(ctx, l, paths, guests, o, p.Rounds)
	return report, err
}

// guest is a workload behind an interface that is there before it is plugged.
type guest struct {
	agent     *plug.Client
	port, tap string
	ns        string
}

// makeGuests creates the ports, and for each a namespace and an interface that
// is configured as the port will be.
func makeGuests(ctx context.Context, l *topology.Lab, count int) ([]*guest, error) {
	c, err := l.Client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	agent := plug.NewClient(filepath.Join(l.Dir, topology.HostName(1), "run"))
	var guests []*guest
	for n := range count {
		g := &guest{agent: agent, port: fmt.Sprintf("%s:g%d", project, n), tap: fmt.Sprintf("tap%d", n), ns: l.Namespace(fmt.Sprintf("g%d", n))}
		mac, err := createPort(ctx, c, n)
		if err != nil {
			return nil, err
		}
		if err := g.cable(l, n, mac); err != nil {
			return nil, err
		}
		guests = append(guests, g)
	}
	return guests, nil
}

// firstGuest is the last part of the first guest's address.
const firstGuest = 40

// createPort makes the n-th guest's port with an address, bound to h1, and
// returns its MAC.
func createPort(ctx context.Context, c *client.Client, n int) (mac string, err error) {
	name := fmt.Sprintf("g%d", n)
	port := api.New(api.KindPort).(*api.Port)
	port.Meta.Name, port.Meta.Parent = name, api.ParseRef(project)
	port.Spec.Network = api.ParseRef(project + ":net")
	address := api.New(api.KindAddress).(*api.Address)
	address.Meta.Name, address.Meta.Parent = name+"-v4", api.ParseRef(project+":net")
	address.Spec = api.AddressSpec{Subnet: api.ParseRef(project + ":net:v4"), IP: hostAt(inner4, firstGuest+n).Addr(), Port: api.ParseRef(project + ":" + name)}
	binding := api.New(api.KindBinding).(*api.Binding)
	binding.Meta.Name, binding.Meta.Parent = topology.HostName(1), api.ParseRef(project+":"+name)
	binding.Spec = api.BindingSpec{Host: api.ParseRef(topology.HostName(1)), Active: true}
	_, err = c.Transaction(ctx, []api.Operation{
		{Op: api.OpCreate, Object: port}, {Op: api.OpCreate, Object: address}, {Op: api.OpCreate, Object: binding},
	}, false)
	if err != nil {
		return "", fmt.Errorf("create port %s: %w", name, err)
	}
	made, err := client.Get[*api.Port](ctx, c, api.ParseRef(project+":"+name))
	if err != nil {
		return "", err
	}
	return string(made.Spec.MAC), nil
}

func (g *guest) cable(l *topology.Lab, n int, mac string) error {
	if err := namespace.Create(g.ns); err != nil {
		return err
	}
	err := namespace.Veth(namespace.End{Namespace: l.Namespace(topology.HostName(1)), Name: g.tap},
		namespace.End{Namespace: g.ns, Name: "eth0", Addresses: []netip.Prefix{hostAt(inner4, firstGuest+n)}}, innerMTU)
	if err != nil {
		return err
	}
	if _, err := namespace.Run(g.ns, "ip", "link", "set", "eth0", "address", mac); err != nil {
		return err
	}
	// As a tap whose guest runs: with carrier. The kernel takes up to a second
	// to notice one, and until then the workload's own end drops what it sends.
	return namespace.WaitUp(g.ns, "eth0")
}

func (g *guest) plug(ctx context.Context) error {
	_, err := g.agent.Plug(ctx, plug.Request{Port: g.port, Place: link.Place{Interface: g.tap}})
	return err
}

// firstPacket plugs the guest and returns the time from asking for it until
// its workload has an answer from another one.
func (g *guest) firstPacket(ctx context.Context, target netip.Addr) (took time.Duration, err error) {
	start := time.Now()
	if err := g.plug(ctx); err != nil {
		return 0, err
	}
	err = namespace.Do(g.ns, func() error {
		// The handshake is the first packet there and back; if one is lost, the
		// second that TCP waits before it tries again is in the figure.
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(target, exchangePort).String(), 5*time.Second)
		if err == nil {
			took = time.Since(start)
			err = c.Close()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("first packet of %s to %v: %w", g.port, target, err)
	}
	return took, nil
}
