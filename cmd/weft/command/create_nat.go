// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

func newCreateSourceNAT(s *session) *cobra.Command {
	var network, external string
	var ips []string
	c := s.creation(creation{
		kind: api.KindSourceNAT, args: "NAME --network NETWORK --external NETWORK [--ip IP]...", short: "Let the workloads of a network go out with addresses of another",
		long: `With the source-nat come its addresses, one from each subnet of the external network
or those of --ip. Hosts share them: each gets ports of them by itself, see weft nat.`,
		example: "  weft create source-nat pods-out --network pods --external public\n  weft create source-nat pods-out --network pods --external public --ip 198.51.100.7",
		build: func(ctx context.Context, name string) ([]api.Operation, error) {
			return s.buildSourceNAT(ctx, name, network, external, ips)
		},
	})
	c.Flags().StringVar(&network, "network", "", "`NETWORK` whose workloads go out")
	c.Flags().StringVar(&external, "external", "", "`NETWORK` that they go out to, of the addresses")
	c.Flags().StringSliceVar(&ips, "ip", nil, "`ADDRESS` of the external network, in place of one from each subnet; may be repeated")
	return c
}

func (s *session) buildSourceNAT(ctx context.Context, name, network, external string, ips []string) ([]api.Operation, error) {
	o, err := fresh[*api.SourceNAT](s, api.KindSourceNAT, name)
	if err != nil {
		return nil, err
	}
	if err := needed("network", network, "pods"); err != nil {
		return nil, err
	}
	if err := needed("external", external, "public"); err != nil {
		return nil, err
	}
	if o.Spec.Network, err = s.ref(api.KindNetwork, network); err != nil {
		return nil, err
	}
	addresses, err := s.freeAddresses(ctx, o, external, ips)
	if err != nil {
		return nil, err
	}
	var objects []api.Object
	for _, a := range addresses {
		o.Spec.Addresses = append(o.Spec.Addresses, api.Ref{Name: fullName(a)})
		objects = append(objects, a)
	}
	return creates(append(objects, o)...), nil
}
