// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

func newCreateNetwork(s *session) *cobra.Command {
	var vni uint32
	var mtu, reserve int
	var ranges, encapsulations []string
	var ipam string
	c := s.creation(creation{
		kind: api.KindNetwork, args: "NAME [--subnet RANGE]...", short: "Make a network with its subnets",
		long: "The subnets are named v4 and v6 by their family (v4-2 for the second), and\ntheir gateway is the first address.",
		example: `  weft create network web --subnet 10.0.1.0/24 --subnet 2001:db8:1::/64
  weft create network acme:web:front --vni 5000
  weft create network far --encapsulation mplsudp,vxlan`,
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			n, err := fresh[*api.Network](s, api.KindNetwork, name)
			if err != nil {
				return nil, err
			}
			n.Spec.VNI, n.Spec.MTU, n.Spec.HostReserve = vni, mtu, reserve
			n.Spec.Encapsulation = encapsulations
			if ipam != "" {
				if n.Spec.IPAM, err = s.ref(api.KindIPAM, ipam); err != nil {
					return nil, err
				}
			}
			objects := []api.Object{n}
			count := map[string]int{}
			for _, r := range ranges {
				subnet, err := subnetOf(n, r, count)
				if err != nil {
					return nil, err
				}
				objects = append(objects, subnet)
			}
			return creates(objects...), nil
		},
	})
	c.Flags().StringSliceVar(&ranges, "subnet", nil, "`RANGE` of addresses, e.g. 10.0.1.0/24; may be repeated")
	c.Flags().StringSliceVar(&encapsulations, "encapsulation", nil, "`WORD` vxlan, mplsudp or none, in the order of preference; vxlan when absent")
	c.Flags().StringVar(&ipam, "ipam", "", "`IPAM` whose address space it shares")
	c.Flags().Uint32Var(&vni, "vni", 0, "VXLAN network `ID`; allocated when absent")
	c.Flags().IntVar(&reserve, "host-reserve", 0, "`NUMBER` of addresses of each family claimed for every host, for new workloads while no controller can be reached")
	c.Flags().IntVar(&mtu, "mtu", 0, "MTU of workloads, `BYTES`; the underlay's less the tunnel's cost when absent")
	return c
}

// subnetOf makes a subnet of a new network, named by its family.
func subnetOf(n *api.Network, words string, count map[string]int) (*api.Subnet, error) {
	prefix, err := parsePrefix("subnet", words)
	if err != nil {
		return nil, err
	}
	family := "v4"
	if prefix.Addr().Is6() {
		family = "v6"
	}
	count[family]++
	subnet := api.New(api.KindSubnet).(*api.Subnet)
	subnet.Meta.Name = family
	if count[family] > 1 {
		subnet.Meta.Name = fmt.Sprintf("%s-%d", family, count[family])
	}
	subnet.Meta.Parent = api.Ref{Name: fullName(n)}
	subnet.Spec.CIDR = prefix
	return subnet, nil
}

func newCreateSubnet(s *session) *cobra.Command {
	var network, cidr, gateway, pool string
	var length int
	var f allocationFlags
	c := s.creation(creation{
		kind: api.KindSubnet, args: "NETWORK:NAME --cidr RANGE|--subnet-pool POOL", short: "Add a subnet to a network",
		long: "The network may also be given by --network. Addresses are allocated from the\npools and never from what is reserved; an address that is asked for by IP may\nbe any of the subnet.",
		example: `  weft create subnet web:v4-2 --cidr 10.0.2.0/24 --gateway 10.0.2.254
  weft create subnet web:v4-3 --cidr 10.0.3.0/24 --pool 10.0.3.10-10.0.3.99 --reserve 10.0.3.50
  weft create subnet web:v4-4 --subnet-pool office --length 26
  weft create subnet pods:v4 --cidr 10.32.0.0/12 --from top --quarantine 2m`,
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			subnet, err := freshIn[*api.Subnet](s, api.KindSubnet, name, network)
			if err != nil {
				return nil, err
			}
			if subnet.Spec.PrefixLength = length; pool != "" {
				if subnet.Spec.SubnetPool, err = s.ref(api.KindSubnetPool, pool); err != nil {
					return nil, err
				}
			} else if err := needed("cidr", cidr, "10.0.2.0/24"); err != nil {
				return nil, err
			}
			if cidr != "" {
				if subnet.Spec.CIDR, err = parsePrefix("cidr", cidr); err != nil {
					return nil, err
				}
			}
			if gateway != "" {
				g, err := parseAddresses("gateway", []string{gateway})
				if err != nil {
					return nil, err
				}
				subnet.Spec.Gateway = g[0]
			}
			return creates(subnet), f.apply(subnet)
		},
	})
	f.define(c)
	c.Flags().StringVar(&network, "network", "", "`NETWORK` of the subnet")
	c.Flags().StringVar(&cidr, "cidr", "", "`RANGE` of addresses; allocated with --subnet-pool when absent")
	c.Flags().StringVar(&pool, "subnet-pool", "", "`SUBNET-POOL` that the range is from")
	c.Flags().IntVar(&length, "length", 0, "prefix `LENGTH` of the range to allocate; the subnet-pool's when absent")
	c.Flags().StringVar(&gateway, "gateway", "", "`IP` the vRouter answers for; the first of the range when absent")
	return c
}

// freshIn makes an object of a kind within a parent that is given by a flag,
// or else by the left part of the name. The name may be empty with a flag.
func freshIn[T api.Object](s *session, kind api.Kind, name, parent string) (T, error) {
	if parent == "" {
		if name == "" {
			o := api.New(kind).(T)
			return o, needed(string(parentOf(kind)), "", "NAME")
		}
		return fresh[T](s, kind, name)
	}
	o := api.New(kind).(T)
	ref, err := s.ref(parentOf(kind), parent)
	if err != nil {
		return o, err
	}
	if api.BaseName(name) != name {
		return o, usagef("%q: give the %s either in the name or by --%s", name, parentOf(kind), parentOf(kind))
	}
	o.Head().Meta.Name, o.Head().Meta.Parent = name, ref
	return o, nil
}

func newCreateAddress(s *session) *cobra.Command {
	var network, subnet, ip, port string
	c := s.creation(creation{
		kind: api.KindAddress, args: "[NETWORK:NAME] [--ip IP] [--port PORT]", short: "Give a port an address, or reserve one", optional: true,
		long: "Without --ip an address of the subnet is allocated. Without --port it is\nreserved: nobody answers for it, and nobody else gets it.",
		example: `  weft create address --network web --port web-1 --ip 10.0.1.20
  weft create address web:printer --ip 10.0.1.9`,
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			a, err := freshIn[*api.Address](s, api.KindAddress, name, network)
			if err != nil {
				return nil, err
			}
			if ip != "" {
				list, err := parseAddresses("ip", []string{ip})
				if err != nil {
					return nil, err
				}
				a.Spec.IP = list[0]
			}
			if port != "" {
				if a.Spec.Port, err = s.ref(api.KindPort, port); err != nil {
					return nil, err
				}
			}
			if subnet != "" {
				a.Spec.Subnet, err = s.subnetIn(a.Meta.Parent, subnet)
			}
			return creates(a), err
		},
	})
	c.Flags().StringVar(&network, "network", "", "`NETWORK` of the address, if the name does not say it")
	c.Flags().StringVar(&subnet, "subnet", "", "`SUBNET` to allocate from; needed when the network has several")
	c.Flags().StringVar(&ip, "ip", "", "the `ADDRESS`; allocated when absent")
	c.Flags().StringVar(&port, "port", "", "`PORT` that answers for it")
	return c
}

// subnetIn reads a subnet that may be named within its network alone.
func (s *session) subnetIn(network api.Ref, name string) (api.Ref, error) {
	if api.BaseName(name) == name && !api.IsUUID(name) && network.Name != "" {
		return api.Ref{Name: api.JoinName(network.Name, name)}, nil
	}
	return s.ref(api.KindSubnet, name)
}
