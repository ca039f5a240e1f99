// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// tapAddress is the last part of the addresses of workloads behind taps.
const tapAddress = 30

// wireTaps puts a workload behind a tap on h1 into the kernel's bridge and, if
// Weft runs, one into its network. The caller stops the machines.
func wireTaps(ctx context.Context, l *topology.Lab, weft bool) (paths []Path, stop func() error, err error) {
	var machines []*machine
	stop = func() error {
		var all error
		for _, m := range machines {
			all = errors.Join(all, m.stop())
		}
		return all
	}
	start := func(guest, tap, mac string) error {
		if err := namespace.Create(l.Namespace(guest)); err != nil {
			return err
		}
		m, err := startMachine(l.Namespace(topology.HostName(1)), tap, l.Namespace(guest), mac, hostAt(inner4, tapAddress), hostAt(inner6, tapAddress))
		if err == nil {
			machines = append(machines, m)
		}
		return err
	}
	path := func(name, client, server string) Path {
		return Path{Group: Taps, Name: name, client: client, server: server, v4: hostAt(inner4, 13).Addr(), v6: hostAt(inner6, 13).Addr()}
	}
	if err := start("kt", "tap-bridge", ""); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	if _, err := namespace.Run(l.Namespace(topology.HostName(1)), "ip", "link", "set", "tap-bridge", "master", "bridge"); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	paths = append(paths, path("kernel bridge + vxlan", "kt", "k3"))
	if !weft {
		return paths, stop, nil
	}
	mac, err := createTapPort(ctx, l)
	if err == nil {
		err = start("wt", "tap-weft", mac)
	}
	if err == nil {
		_, err = plug.NewClient(filepath.Join(l.Dir, topology.HostName(1), "run")).
			Plug(ctx, plug.Request{Port: project + ":tap", Place: link.Place{Interface: "tap-weft"}})
	}
	if err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return append(paths, path("Weft", "wt", "w3")), stop, nil
}

// createTapPort creates the port, bound to h1, and returns its MAC.
func createTapPort(ctx context.Context, l *topology.Lab) (mac string, err error) {
	c, err := l.Client()
	if err != nil {
		return "", err
	}
	defer c.Close()
	port, network := project+":tap", project+":net"
	address := func(family string, a api.AddressSpec) api.Operation {
		return created(api.KindAddress, network, "tap-"+family, func(o api.Object) {
			a.Subnet, a.Port = api.ParseRef(network+":"+family), api.ParseRef(port)
			o.(*api.Address).Spec = a
		})
	}
	_, err = c.Transaction(ctx, []api.Operation{
		created(api.KindPort, project, "tap", func(o api.Object) { o.(*api.Port).Spec.Network = api.ParseRef(network) }),
		address("v4", api.AddressSpec{IP: hostAt(inner4, tapAddress).Addr()}),
		address("v6", api.AddressSpec{IP: hostAt(inner6, tapAddress).Addr()}),
		created(api.KindBinding, port, topology.HostName(1), func(o api.Object) {
			o.(*api.Binding).Spec = api.BindingSpec{Host: api.ParseRef(topology.HostName(1)), Active: true}
		}),
	}, false)
	if err != nil {
		return "", fmt.Errorf("create the port of the tap: %w", err)
	}
	made, err := client.Get[*api.Port](ctx, c, api.ParseRef(port))
	if err != nil {
		return "", err
	}
	return string(made.Spec.MAC), nil
}
