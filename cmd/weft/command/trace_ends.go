// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// ends finds who sends the packet, and completes the question with both addresses.
func (s *session) traceEnds(ctx context.Context, c *client.Client, o traceOptions, q *api.TraceQuestion) (*api.Port, error) {
	from, err := s.workload(ctx, c, "--from", o.port)
	if err != nil {
		return nil, err
	}
	if o.vlan != 0 {
		if from, err = subPort(ctx, c, from, o.vlan); err != nil {
			return nil, err
		}
	}
	if q.To.IsValid() {
		return from, nil
	}
	to, err := s.workload(ctx, c, "--to", o.to)
	if err != nil {
		return nil, err
	}
	own, err := addressesOf(ctx, c, from)
	if err != nil {
		return nil, err
	}
	others, err := addressesOf(ctx, c, to)
	if err != nil {
		return nil, err
	}
	if q.From.IsValid() {
		own = []netip.Addr{q.From}
	}
	for _, a := range others {
		both := slices.ContainsFunc(own, func(b netip.Addr) bool { return a.Is4() == b.Is4() })
		if both && (!o.six || a.Is6()) {
			q.To = a
			return from, nil
		}
	}
	return nil, fmt.Errorf("trace: port %s has no address of a family that port %s has, too: name the address with --to", to.Meta.FQName, from.Meta.FQName)
}

// workload finds a port by its name, by that of the virtual-machine that it
// belongs to, or by its name in DNS.
func (s *session) workload(ctx context.Context, c *client.Client, flag, text string) (*api.Port, error) {
	missing := func(err error) bool {
		var e *api.Error
		return errors.As(err, &e) && e.Code == api.CodeNotFound
	}
	ref, err := s.ref(api.KindPort, text)
	if err != nil {
		return nil, err
	}
	p, err := client.Get[*api.Port](ctx, c, ref)
	if err == nil || !missing(err) {
		return p, err
	}
	var found []*api.Port
	if vm, gone := client.Get[*api.VirtualMachine](ctx, c, ref); gone == nil {
		ports, err := client.ListOf[*api.Port](ctx, c, client.ListOptions{References: map[string]api.Ref{"spec.virtualMachine": api.RefTo(vm)}})
		if err != nil {
			return nil, err
		}
		found = ports.Items
	} else {
		ports, err := client.ListOf[*api.Port](ctx, c, client.ListOptions{Parent: api.Ref{Name: parentName(ref.Name)}})
		if err != nil && !missing(err) {
			return nil, err
		}
		for _, p := range ports.Items {
			if p.Spec.DNSName == text {
				found = append(found, p)
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("%s: %w; nor is it a virtual-machine or the name of a port in DNS", flag, err)
	case 1:
		return found[0], nil
	}
	names := make([]string, len(found))
	for i, p := range found {
		names[i] = p.Meta.FQName
	}
	return nil, usagef("%s: %q has several ports, name one of them: %s", flag, text, joinWords(names))
}

// subPort finds the sub-port of a trunk by its VLAN.
func subPort(ctx context.Context, c *client.Client, carrier *api.Port, vlan uint16) (*api.Port, error) {
	trunks, err := client.ListOf[*api.Trunk](ctx, c, client.ListOptions{References: map[string]api.Ref{"spec.port": api.RefTo(carrier)}})
	if err != nil {
		return nil, err
	}
	for _, t := range trunks.Items {
		subs, err := client.ListOf[*api.SubPort](ctx, c, client.ListOptions{Parent: api.RefTo(t)})
		if err != nil {
			return nil, err
		}
		for _, sub := range subs.Items {
			if sub.Spec.VLAN == int(vlan) {
				return client.Get[*api.Port](ctx, c, sub.Spec.Port)
			}
		}
	}
	return nil, fmt.Errorf("trace: port %s carries no sub-port with VLAN %d", carrier.Meta.FQName, vlan)
}

// addressesOf are a port's, IPv4 first.
func addressesOf(ctx context.Context, c *client.Client, p *api.Port) ([]netip.Addr, error) {
	list, err := client.ListOf[*api.Address](ctx, c, client.ListOptions{References: map[string]api.Ref{"spec.port": api.RefTo(p)}})
	if err != nil {
		return nil, err
	}
	var all []netip.Addr
	for _, a := range list.Items {
		all = append(all, a.Spec.IP)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all, nil
}
