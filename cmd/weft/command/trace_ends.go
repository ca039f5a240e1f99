// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// traceEnd is who sends or gets a packet: a port or a host; neither is an
// address that nobody was asked for.
type traceEnd struct {
	port *api.Port
	host *api.Host
}

// asked is the host that is asked about what the end sends.
func (e traceEnd) asked() (api.Ref, error) {
	if e.host != nil {
		return api.Ref{Name: e.host.Meta.Name}, nil
	}
	if e.port.Status.Host == "" {
		return api.Ref{}, fmt.Errorf("trace from port %s: it is bound to no host: weft why port %s", e.port.Meta.FQName, e.port.Meta.FQName)
	}
	return api.Ref{Name: e.port.Status.Host}, nil
}

// traceEnds finds both ends, and completes the question.
func (s *session) traceEnds(ctx context.Context, c *client.Client, o traceOptions, q *api.TraceQuestion) (from, to traceEnd, err error) {
	if from, err = s.traceEnd(ctx, c, "--from", o.port); err != nil {
		return from, to, err
	}
	if from.host != nil && (o.vlan != 0 || o.toMAC != "") {
		return from, to, usagef("--from %s is a host: --from-vlan and --to-mac are for what a workload sends", o.port)
	}
	if o.vlan != 0 {
		if from.port, err = subPort(ctx, c, from.port, o.vlan); err != nil {
			return from, to, err
		}
	}
	if q.Host = from.host != nil; !q.Host {
		q.Port = from.port.Meta.UUID
	}
	if q.To.IsValid() || o.to == "" {
		return from, to, nil
	}
	if to, err = s.traceEnd(ctx, c, "--to", o.to); err != nil {
		return from, to, err
	}
	if from.host != nil && to.host != nil {
		return from, to, usagef("what a host sends to a host does not come to the packet path: one of --from and --to is a port")
	}
	return from, to, s.destination(ctx, c, o, from, to, q)
}

// traceEnd finds a port, or a host: by its name if there is no such port, or as host/NAME.
func (s *session) traceEnd(ctx context.Context, c *client.Client, flag, text string) (e traceEnd, err error) {
	if strings.Contains(text, "/") {
		t, err := s.parseSlashed(text)
		if err != nil {
			return e, err
		}
		switch t.info.Kind {
		case api.KindHost:
			e.host, err = client.Get[*api.Host](ctx, c, t.ref)
		case api.KindPort:
			e.port, err = client.Get[*api.Port](ctx, c, t.ref)
		default:
			err = usagef("%s: %s is neither a port nor a host", flag, text)
		}
		return e, err
	}
	e.port, err = s.workload(ctx, c, flag, text)
	if usage := (usageError{}); !isMissing(err) && !errors.As(err, &usage) { // a name that is too short for a port may be a host's
		return e, err
	}
	if h, none := client.Get[*api.Host](ctx, c, api.Ref{Name: text}); none == nil {
		return traceEnd{host: h}, nil
	}
	if isMissing(err) {
		err = fmt.Errorf("%w, or a host", err)
	}
	return e, err
}

// destination chooses the address that the packet goes to, or the MAC where
// one end has none that the other could speak to.
func (s *session) destination(ctx context.Context, c *client.Client, o traceOptions, from, to traceEnd, q *api.TraceQuestion) error {
	own, err := from.addresses(ctx, c)
	if err != nil {
		return err
	}
	others, err := to.addresses(ctx, c)
	if err != nil {
		return err
	}
	if q.From.IsValid() {
		own = []netip.Addr{q.From}
	}
	same := from.port != nil && to.port != nil && from.port.Spec.Network == to.port.Spec.Network
	for _, a := range others {
		both := from.host != nil && !q.From.IsValid() || slices.ContainsFunc(own, func(b netip.Addr) bool { return a.Is4() == b.Is4() })
		if !both || o.six && !a.Is6() || q.Ethertype != 0 {
			continue
		}
		q.To = a
		if same && q.ToMAC == "" && framesOnly(ctx, c, to.port) {
			q.ToMAC = to.port.Spec.MAC
		}
		return nil
	}
	if same && !o.six {
		q.ToMAC = cmp.Or(q.ToMAC, to.port.Spec.MAC)
		return nil
	}
	if q.Ethertype != 0 {
		return usagef("%s and %s are not two ports of one network, and a frame that is no packet goes no further", from, to)
	}
	if o.six {
		return fmt.Errorf("trace: %s or %s has no IPv6 address, which --ipv6 asks for", to, from)
	}
	return fmt.Errorf("trace: %s has no address of a family that %s has, too: name the address with --to", to, from)
}

// framesOnly says whether a port's network carries frames and not packets, so
// that nobody but workloads answers who has an address. Who may not see the
// network is told by the trace.
func framesOnly(ctx context.Context, c *client.Client, p *api.Port) bool {
	n, err := client.Get[*api.Network](ctx, c, p.Spec.Network)
	return err == nil && n.Spec.Forwarding == api.ForwardingFrames
}

// String names the end.
func (e traceEnd) String() string {
	if e.host != nil {
		return "host " + e.host.Meta.Name
	}
	return "port " + e.port.Meta.FQName
}

// addresses are those of the end, IPv4 first.
func (e traceEnd) addresses(ctx context.Context, c *client.Client) ([]netip.Addr, error) {
	if e.host == nil {
		return addressesOf(ctx, c, e.port)
	}
	var all []netip.Addr
	for _, a := range e.host.Spec.TunnelAddresses {
		all = append(all, a.Unmap())
	}
	slices.SortStableFunc(all, func(x, y netip.Addr) int { return cmp.Compare(x.BitLen(), y.BitLen()) })
	return all, nil
}

// isMissing says whether there is no such object.
func isMissing(err error) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Code == api.CodeNotFound
}

// workload finds a port by its name, by that of the virtual-machine that it
// belongs to, or by its name in DNS.
func (s *session) workload(ctx context.Context, c *client.Client, flag, text string) (*api.Port, error) {
	ref, err := s.ref(api.KindPort, text)
	if err != nil {
		return nil, err
	}
	p, err := client.Get[*api.Port](ctx, c, ref)
	if err == nil || !isMissing(err) {
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
		if err != nil && !isMissing(err) {
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
