// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

const (
	domain = "default-domain"
	// writersAtOnce fill the store.
	writersAtOnce = 4
	// networksInOne and portsInOne are made by one transaction.
	networksInOne = 33
	portsInOne    = 33
	// operationsInOne is what one transaction takes.
	operationsInOne = 100
)

// World is networks of one size with ports spread over the hosts: the n-th
// network's ports are on consecutive hosts, from one that is far from its
// neighbour's first.
type World struct {
	Hosts, Networks, Ports int // ports of each network
	Policies               int // security-groups, of all networks' projects together
}

// HostOf is the host of a network's port, both from 0.
func (w World) HostOf(network, port int) int { return (network*37 + port) % w.Hosts }

// HostsOf is how many hosts have ports of a network.
func (w World) HostsOf() int { return min(w.Hosts, w.Ports) }

// projectName is that of a network's project: each has one of its own, as
// tenants do, for a host learns the names of all ports of its projects.
func projectName(network int) string { return fmt.Sprintf("%s:project-%04d", domain, network) }

func networkName(n int) string { return fmt.Sprintf("%s:net-%04d", projectName(n), n) }

func portName(network, port int) string {
	return fmt.Sprintf("%s:port-%04d-%04d", projectName(network), network, port)
}

// address is that of a port: all networks have the same.
func address(port int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte((port + 10) >> 8), byte(port + 10)})
}

func head(o api.Object, kind api.Kind, parent, name string) api.Object {
	h := o.Head()
	h.Kind, h.Meta.Name, h.Meta.Parent = kind, name, api.Ref{Name: parent}
	return o
}

func makeNetwork(n int) []api.Operation {
	project := head(&api.Project{}, api.KindProject, domain, api.BaseName(projectName(n)))
	network := head(&api.Network{}, api.KindNetwork, projectName(n), api.BaseName(networkName(n)))
	subnet := &api.Subnet{}
	subnet.Spec.CIDR = netip.MustParsePrefix("10.0.0.0/16")
	return creates(project, network, head(subnet, api.KindSubnet, networkName(n), "v4"))
}

// makePort makes a port with an address, bound to a host.
func (w World) makePort(network, port, host int) []api.Operation {
	p := &api.Port{}
	p.Spec.Network = api.Ref{Name: networkName(network)}
	if groups := w.groupsOf(); groups > 0 {
		p.Spec.SecurityGroups = []api.Ref{{Name: groupName(network, port%groups)}}
	}
	a := &api.Address{}
	a.Spec.Subnet = api.Ref{Name: networkName(network) + ":v4"}
	a.Spec.IP = address(port)
	a.Spec.Port = api.Ref{Name: portName(network, port)}
	b := &api.Binding{}
	b.Spec.Host, b.Spec.Active = api.Ref{Name: HostName(host)}, true
	return creates(
		head(p, api.KindPort, projectName(network), api.BaseName(portName(network, port))),
		head(a, api.KindAddress, networkName(network), fmt.Sprintf("a-%04d", port)),
		head(b, api.KindBinding, portName(network, port), HostName(host)),
	)
}

// drop deletes objects, the last made first.
func drop(made []api.Object) []api.Operation {
	var operations []api.Operation
	for _, o := range slices.Backward(made) {
		operations = append(operations, api.Operation{Op: api.OpDelete, Object: o})
	}
	return operations
}

func creates(objects ...api.Object) []api.Operation {
	operations := make([]api.Operation, len(objects))
	for i, o := range objects {
		operations[i] = api.Operation{Op: api.OpCreate, Object: o}
	}
	return operations
}

// Fill makes the world's networks and ports. The hosts must exist.
func (w World) Fill(ctx context.Context, c *client.Client) error {
	var batches [][]api.Operation
	for n := range w.Networks {
		if n%networksInOne == 0 {
			batches = append(batches, nil)
		}
		batches[len(batches)-1] = append(batches[len(batches)-1], makeNetwork(n)...)
	}
	if err := commit(ctx, c, batches); err != nil {
		return err
	}
	batches = nil
	for n := range w.Networks {
		for made := range slices.Chunk(w.makeGroups(n), operationsInOne) {
			if err := commit(ctx, c, [][]api.Operation{made}); err != nil { // groups come before rules that name them
				return err
			}
		}
	}
	for n := range w.Networks {
		for p := range w.Ports {
			if p%portsInOne == 0 {
				batches = append(batches, nil)
			}
			batches[len(batches)-1] = append(batches[len(batches)-1], w.makePort(n, p, w.HostOf(n, p))...)
		}
	}
	return commit(ctx, c, batches)
}

func commit(ctx context.Context, c *client.Client, batches [][]api.Operation) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan []api.Operation)
	var wait sync.WaitGroup
	for range writersAtOnce {
		wait.Go(func() {
			for batch := range next {
				if _, err := c.Transaction(ctx, batch, false); err != nil {
					cancel(fmt.Errorf("fill the store: %w", err))
				}
			}
		})
	}
	for _, batch := range batches {
		if ctx.Err() != nil {
			break
		}
		next <- batch
	}
	close(next)
	wait.Wait()
	return context.Cause(ctx)
}
