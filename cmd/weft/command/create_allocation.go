// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

func newCreateIPAM(s *session) *cobra.Command {
	return s.creation(creation{
		kind: api.KindIPAM, args: "NAME", short: "Make an address space that several networks share",
		long:    "No address is given out twice in all the networks that are made with --ipam NAME.\nTheir subnets are the same range with the same gateway, or do not overlap.",
		example: "  weft create ipam pods\n  weft create network blue --ipam pods --subnet 10.32.0.0/12",
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			i, err := fresh[*api.IPAM](s, api.KindIPAM, name)
			return creates(i), err
		},
	})
}

func newCreateSubnetPool(s *session) *cobra.Command {
	var prefixes []string
	var length int
	var scope string
	c := s.creation(creation{
		kind: api.KindSubnetPool, args: "NAME --prefix RANGE...", short: "Make a pool of ranges for subnets",
		long:    "Subnets made with --subnet-pool NAME get ranges that do not overlap.",
		example: "  weft create subnet-pool office --prefix 10.128.0.0/9 --length 24",
		build: func(_ context.Context, name string) ([]api.Operation, error) {
			p, err := fresh[*api.SubnetPool](s, api.KindSubnetPool, name)
			if err != nil {
				return nil, err
			}
			p.Spec.PrefixLength = length
			if scope != "" {
				if p.Spec.AddressScope, err = s.ref(api.KindAddressScope, scope); err != nil {
					return nil, err
				}
			}
			for _, words := range prefixes {
				prefix, err := parsePrefix("prefix", words)
				if err != nil {
					return nil, err
				}
				p.Spec.Prefixes = append(p.Spec.Prefixes, prefix)
			}
			return creates(p), nil
		},
	})
	c.Flags().StringSliceVar(&prefixes, "prefix", nil, "`RANGE` that subnets get theirs from; may be repeated")
	c.Flags().StringVar(&scope, "address-scope", "", "`ADDRESS-SCOPE` with no other pool of which this one overlaps")
	c.Flags().IntVar(&length, "length", 0, "prefix `LENGTH` of a subnet that does not say; 24, or 64 in IPv6, when absent")
	return c
}

// noQuarantine is the value of --quarantine when it is not given.
const noQuarantine = -time.Second

// allocationFlags say how a subnet allocates addresses.
type allocationFlags struct {
	pools, reserved []string
	from            string
	quarantine      time.Duration
}

func (f *allocationFlags) define(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.pools, "pool", nil, "`RANGE` to allocate from, FIRST-LAST; the whole subnet when absent; may be repeated")
	c.Flags().StringSliceVar(&f.reserved, "reserve", nil, "`RANGE` that is never allocated; may be repeated")
	c.Flags().StringVar(&f.from, "from", "", "`END` to allocate from: bottom (when absent) or top")
	c.Flags().DurationVar(&f.quarantine, "quarantine", noQuarantine, "`TIME` that a freed address rests, e.g. 2m; 0 for none; 30s when absent")
	c.Flags().Lookup("quarantine").DefValue = "" // said in words
}

func (f *allocationFlags) apply(s *api.Subnet) (err error) {
	if s.Spec.Pools, err = parseRanges("pool", f.pools); err != nil {
		return err
	}
	if s.Spec.Reserved, err = parseRanges("reserve", f.reserved); err != nil {
		return err
	}
	switch s.Spec.AllocateFrom = api.AllocateFrom(f.from); s.Spec.AllocateFrom {
	case "", api.FromBottom, api.FromTop:
	default:
		return usagef("--from %q: want %s or %s", f.from, api.FromBottom, api.FromTop)
	}
	if f.quarantine != noQuarantine {
		seconds := int(f.quarantine / time.Second)
		if f.quarantine < 0 || f.quarantine%time.Second != 0 {
			return usagef("--quarantine %v: want whole seconds, e.g. 30s or 2m", f.quarantine)
		}
		s.Spec.QuarantineSeconds = &seconds
	}
	return nil
}

func parseRanges(flag string, words []string) ([]api.AddressRange, error) {
	var ranges []api.AddressRange
	for _, w := range words {
		r, err := api.ParseAddressRange(w)
		if err != nil {
			return nil, usagef("--%s %q: want FIRST-LAST, one address or a prefix, e.g. 10.0.1.10-10.0.1.99", flag, w)
		}
		ranges = append(ranges, r)
	}
	return ranges, nil
}
