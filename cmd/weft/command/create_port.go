// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// portFlags are the flags of create port.
type portFlags struct {
	network   string
	host      string
	ips       []string
	mac       string
	noAddress bool
}

const createPortLong = `With the port come an address from each subnet of its network (or those of
--ip), and with --host its binding, active at once. Plug a workload on that
host with "weft-agent plug".`

func newCreatePort(s *session) *cobra.Command {
	var f portFlags
	c := s.creation(creation{
		kind: api.KindPort, args: "NAME --network NETWORK [--host HOST] [--ip IP]...", short: "Make a port with its addresses and its binding",
		long: createPortLong,
		example: `  weft create port web-1 --network web --host h1
  weft create port web-2 --network web --ip 10.0.1.20 --ip 2001:db8:1::20 --mac 02:00:00:00:00:20`,
		build: func(ctx context.Context, name string) ([]api.Operation, error) {
			return s.buildPort(ctx, f, name)
		},
	})
	c.Flags().StringVar(&f.network, "network", "", "`NETWORK` of the port")
	c.Flags().StringVar(&f.host, "host", "", "bind it to this `HOST`")
	c.Flags().StringSliceVar(&f.ips, "ip", nil, "its `ADDRESS`, in place of one from each subnet; may be repeated")
	c.Flags().StringVar(&f.mac, "mac", "", "its Ethernet `ADDRESS`; derived from its UUID when absent")
	c.Flags().BoolVar(&f.noAddress, "no-address", false, "give it no address")
	return c
}

// buildPort makes the operations of a port, its addresses and its binding.
func (s *session) buildPort(ctx context.Context, f portFlags, name string) ([]api.Operation, error) {
	p, err := fresh[*api.Port](s, api.KindPort, name)
	if err != nil {
		return nil, err
	}
	if err := needed("network", f.network, "web"); err != nil {
		return nil, err
	}
	if f.noAddress && len(f.ips) > 0 {
		return nil, usagef("--no-address and --ip exclude each other")
	}
	network, err := s.ref(api.KindNetwork, f.network)
	if err != nil {
		return nil, err
	}
	p.Spec.Network, p.Spec.MAC = network, api.MAC(strings.ToLower(f.mac))
	objects := []api.Object{p}
	if !f.noAddress {
		addresses, err := s.portAddresses(ctx, p, f)
		if err != nil {
			return nil, err
		}
		objects = append(objects, addresses...)
	}
	if f.host != "" {
		b, err := s.newBinding(api.Ref{Name: fullName(p)}, f.host)
		if err != nil {
			return nil, err
		}
		objects = append(objects, b)
	}
	return creates(objects...), nil
}

// portAddresses makes an address per --ip, or per subnet of the network. It is
// named by its subnet; a second one of a subnet by itself.
func (s *session) portAddresses(ctx context.Context, p *api.Port, f portFlags) ([]api.Object, error) {
	ips, err := parseAddresses("ip", f.ips)
	if err != nil {
		return nil, err
	}
	c, err := s.connect()
	if err != nil {
		return nil, err
	}
	network, err := client.Get[*api.Network](ctx, c, p.Spec.Network)
	if err != nil {
		return nil, err
	}
	subnets, err := client.ListOf[*api.Subnet](ctx, c, client.ListOptions{Parent: api.RefTo(network)})
	if err != nil {
		return nil, err
	}
	var objects []api.Object
	base := nameWithin(parentName(network.Meta.FQName), fullName(p))
	add := func(suffix string, spec api.AddressSpec) {
		a := api.New(api.KindAddress).(*api.Address)
		a.Meta.Name = base + "-" + suffix
		a.Meta.Parent = api.RefTo(network)
		a.Spec = spec
		a.Spec.Port = api.Ref{Name: fullName(p)}
		objects = append(objects, a)
	}
	if len(ips) == 0 {
		for _, subnet := range subnets.Items {
			add(subnet.Meta.Name, api.AddressSpec{Subnet: api.RefTo(subnet)})
		}
	}
	named := map[string]bool{}
	for _, ip := range ips {
		word := addressWord(ip)
		if i := slices.IndexFunc(subnets.Items, func(s *api.Subnet) bool { return s.Spec.CIDR.Contains(ip) }); i >= 0 && !named[subnets.Items[i].Meta.Name] {
			word = subnets.Items[i].Meta.Name
		}
		named[word] = true
		add(word, api.AddressSpec{IP: ip})
	}
	return objects, nil
}

// addressWord is an address as a part of a name, which may hold no ':' and
// may not end with a sign.
func addressWord(ip netip.Addr) string {
	word := strings.ReplaceAll(ip.String(), ":", "-")
	if strings.HasSuffix(word, "-") {
		word += "0"
	}
	return word
}

// newBinding makes an active binding, named by its host.
func (s *session) newBinding(port api.Ref, host string) (*api.Binding, error) {
	b := api.New(api.KindBinding).(*api.Binding)
	ref, err := s.ref(api.KindHost, host)
	if err != nil {
		return nil, err
	}
	b.Meta.Name = cmp.Or(ref.Name, ref.UUID)
	b.Meta.Parent = port
	b.Spec = api.BindingSpec{Host: ref, Active: true}
	return b, nil
}

const createBindingLong = `A port may be bound to several hosts, and is active on at most one of them.
With --move the port becomes active on the new host and stops being active on
its present one, in one transaction.`

func newCreateBinding(s *session) *cobra.Command {
	var host string
	var inactive, move bool
	c := s.creation(creation{
		kind: api.KindBinding, args: "PORT --host HOST", short: "Bind a port to a host",
		long: createBindingLong,
		example: `  weft create binding web-1 --host h2
  weft create binding web-1 --host h2 --move`,
		build: func(ctx context.Context, port string) ([]api.Operation, error) {
			if err := needed("host", host, "h1"); err != nil {
				return nil, err
			}
			if inactive && move {
				return nil, usagef("--inactive and --move exclude each other")
			}
			ref, err := s.ref(api.KindPort, port)
			if err != nil {
				return nil, err
			}
			b, err := s.newBinding(ref, host)
			if err != nil {
				return nil, err
			}
			b.Spec.Active = !inactive
			if move {
				return s.buildMove(ctx, b)
			}
			return creates(b), nil
		},
	})
	c.Flags().StringVar(&host, "host", "", "the `HOST`")
	c.Flags().BoolVar(&inactive, "inactive", false, "prepare the binding, but leave the port where it is")
	c.Flags().BoolVar(&move, "move", false, "make it the active binding in place of the present one")
	return c
}

// buildMove makes a binding active in place of the present one. The operation
// that ends the present one comes first: there is never a moment with two.
func (s *session) buildMove(ctx context.Context, wanted *api.Binding) ([]api.Operation, error) {
	c, err := s.connect()
	if err != nil {
		return nil, err
	}
	have, err := client.ListOf[*api.Binding](ctx, c, client.ListOptions{Parent: wanted.Meta.Parent})
	if err != nil {
		return nil, err
	}
	last := creates(wanted)
	var operations []api.Operation
	for _, b := range have.Items {
		there := same(b.Spec.Host, wanted.Spec.Host)
		switch {
		case there && b.Spec.Active:
			return nil, failure{what: "port " + b.Meta.Parent.String() + " is already active on " + b.Spec.Host.String()}
		case there:
			b.Spec.Active = true
			last = []api.Operation{{Op: api.OpUpdate, Object: b}}
		case b.Spec.Active:
			b.Spec.Active = false
			operations = append(operations, api.Operation{Op: api.OpUpdate, Object: b})
		}
	}
	return append(operations, last...), nil
}
