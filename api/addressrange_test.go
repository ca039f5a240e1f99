// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestRangesAreWrittenAndRead(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.9-10.0.0.20":      "10.0.0.9-10.0.0.20",
		"10.0.0.9":                "10.0.0.9",
		"10.0.0.9-10.0.0.9":       "10.0.0.9",
		"10.0.0.16/28":            "10.0.0.16-10.0.0.31",
		"2001:db8::1-2001:db8::f": "2001:db8::1-2001:db8::f",
		"2001:db8::/126":          "2001:db8::-2001:db8::3",
		"":                        "",
	} {
		var r AddressRange
		if err := r.UnmarshalText([]byte(text)); err != nil || r.String() != want {
			t.Errorf("%q: %v, %v, want %s", text, r, err, want)
		}
	}
	for _, text := range []string{"a", "10.0.0.1-", "-10.0.0.1", "10.0.0.1-10.0.0.2-10.0.0.3", "10.0.0.0/33"} {
		if r, err := ParseAddressRange(text); err == nil {
			t.Errorf("%q was read as %v", text, r)
		}
	}
}

func TestRangesAreCounted(t *testing.T) {
	for text, want := range map[string]uint64{
		"10.0.0.9": 1, "10.0.0.0/8": 1 << 24, "0.0.0.0/0": 1 << 32, "2001:db8::/80": 1 << 48, "2001:db8::/64": MaxCount, "::/0": MaxCount,
		"2001:db8::ffff:ffff:ffff:ffff-2001:db8:0:1::": 2,
	} {
		r, err := ParseAddressRange(text)
		if err != nil || r.Count() != want {
			t.Errorf("%s has %d addresses, want %d (%v)", text, r.Count(), want, err)
		}
	}
}

// The pools less reserved ranges, gateway, network and broadcast address are
// the same, address by address, as what the words say.
func TestAllocatableRanges(t *testing.T) {
	for _, c := range []struct{ cidr, gateway, pools, reserved, want string }{
		{"10.0.0.0/29", "", "", "", "[10.0.0.2-10.0.0.6]"},
		{"10.0.0.0/29", "10.0.0.4", "", "", "[10.0.0.1-10.0.0.3 10.0.0.5-10.0.0.6]"},
		{"10.0.0.0/24", "", "10.0.0.200-10.0.0.255 10.0.0.0-10.0.0.9", "10.0.0.5 10.0.0.210-10.0.0.230", "[10.0.0.2-10.0.0.4 10.0.0.6-10.0.0.9 10.0.0.200-10.0.0.209 10.0.0.231-10.0.0.254]"},
		{"10.0.0.0/24", "", "10.0.0.10-10.0.0.20", "10.0.0.0/24", "[]"},
		{"2001:db8::/126", "", "", "", "[2001:db8::2-2001:db8::3]"},
	} {
		s := ranged(c.cidr, c.pools, c.reserved)
		if c.gateway != "" {
			s.Spec.Gateway = netip.MustParseAddr(c.gateway)
		}
		s.Default()
		if p := s.Validate(); len(p) > 0 {
			t.Errorf("%v: %v", c, p)
		}
		got := s.Allocatable()
		if fmt.Sprint(got) != c.want {
			t.Errorf("%v: %v", c, got)
		}
	}
}

func ranged(cidr, pools, reserved string) *Subnet {
	s := &Subnet{Spec: SubnetSpec{CIDR: netip.MustParsePrefix(cidr)}}
	for _, list := range []struct {
		text string
		to   *[]AddressRange
	}{{pools, &s.Spec.Pools}, {reserved, &s.Spec.Reserved}} {
		for _, f := range strings.Fields(list.text) {
			r, err := ParseAddressRange(f)
			if err != nil {
				panic(err)
			}
			*list.to = append(*list.to, r)
		}
	}
	return s
}

func TestWrongRangesAreRefused(t *testing.T) {
	week := MaxQuarantineSeconds + 1
	for field, s := range map[string]*Subnet{
		"spec.pools[0]":          ranged("10.0.0.0/24", "10.0.0.9-10.0.1.2", ""),
		"spec.pools[1]":          ranged("10.0.0.0/24", "10.0.0.1-10.0.0.9 10.0.0.9-10.0.0.10", ""),
		"spec.reserved[0]":       ranged("10.0.0.0/24", "", "10.0.0.9-10.0.0.2"),
		"spec.reserved[1]":       ranged("10.0.0.0/24", "", "10.0.0.9 2001:db8::1"),
		"spec.reserved":          ranged("10.0.0.0/24", "", strings.Repeat("10.0.0.9 ", MaxRanges+1)),
		"spec.allocateFrom":      {Spec: SubnetSpec{CIDR: netip.MustParsePrefix("10.0.0.0/24"), AllocateFrom: "middle"}},
		"spec.quarantineSeconds": {Spec: SubnetSpec{CIDR: netip.MustParsePrefix("10.0.0.0/24"), QuarantineSeconds: &week}},
	} {
		s.Default()
		if p := s.Validate(); len(p) != 1 || p[0].Field != field {
			t.Errorf("%v: problems %v, want one in %s", s.Spec, p, field)
		}
	}
	mixed := ranged("10.0.0.0/24", "", "")
	mixed.Spec.Pools = []AddressRange{{}}
	if p := mixed.Validate(); len(p) != 1 || p[0].Field != "spec.pools[0]" {
		t.Errorf("no range: problems %v", p)
	}
}
