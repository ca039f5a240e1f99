// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"net/netip"
)

// MaxPoolPrefixes bounds the prefixes of a subnet-pool; allocation looks at each.
const MaxPoolPrefixes = 64

// SubnetPool is where subnets get their ranges from. No two subnets of a pool
// overlap, whatever their networks.
type SubnetPool struct {
	Header
	Spec   SubnetPoolSpec   `json:"spec"`
	Status SubnetPoolStatus `json:"status,omitzero"`
}

// SubnetPoolSpec says which addresses the pool has. They may become more, not fewer.
type SubnetPoolSpec struct {
	Prefixes []netip.Prefix `json:"prefixes" doc:"What ranges are allocated from, of one family; may become more, not fewer."`
	// PrefixLength is that of a subnet which does not say.
	PrefixLength int `json:"prefixLength,omitempty" doc:"Prefix length of a subnet that does not say; 24, or 64 in IPv6, when absent."`
	// AddressScope is the address space that the pool is a part of.
	AddressScope Ref `json:"addressScope,omitzero" doc:"address-scope that the pool is in, with no other pool of which it overlaps; changes only while no subnet is from the pool."`
}

// SubnetPoolStatus is what the system reports of a subnet-pool.
type SubnetPoolStatus struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

func (s *SubnetPool) Refs() []FieldRef {
	return []FieldRef{{"spec.addressScope", KindAddressScope, &s.Spec.AddressScope, VerbAttach}}
}

func (s *SubnetPool) Claims() []Claim { return nil }

// Guards are the pools of the address-scope, which must not overlap.
func (s *SubnetPool) Guards() []string {
	if s.Spec.AddressScope.IsZero() {
		return nil
	}
	return []string{"address-scope/" + s.Spec.AddressScope.UUID}
}

func (s *SubnetPool) Validate() Problems {
	var p Problems
	if n := len(s.Spec.Prefixes); n == 0 || n > MaxPoolPrefixes {
		p.Addf("spec.prefixes", "has %d prefixes, want 1 to %d", n, MaxPoolPrefixes)
		return p
	}
	for i, c := range s.Spec.Prefixes {
		at := fmt.Sprintf("spec.prefixes[%d]", i)
		switch {
		case !c.IsValid() || c != c.Masked() || c.Addr().Is4In6() || c.Bits() < 8:
			p.Addf(at, "%v is not a range with a prefix length from 8 up and without host bits", c)
		case c.Addr().Is4() != s.Spec.Prefixes[0].Addr().Is4():
			p.Addf(at, "%v is of another family than %v: make a pool for each", c, s.Spec.Prefixes[0])
		}
		for _, other := range s.Spec.Prefixes[:i] {
			if c.IsValid() && c.Overlaps(other) {
				p.Addf(at, "%v overlaps with %v", c, other)
			}
		}
	}
	if n := s.Spec.PrefixLength; n != 0 && (n < 8 || n > s.bits()-2) {
		p.Addf("spec.prefixLength", "%d is not between 8 and %d", n, s.bits()-2)
	}
	return p
}

func (s *SubnetPool) bits() int { return s.Spec.Prefixes[0].Addr().BitLen() }

// Length is the prefix length of a subnet that asks for one, or for none (0).
func (s *SubnetPool) Length(asked int) int {
	switch {
	case asked != 0:
		return asked
	case s.Spec.PrefixLength != 0:
		return s.Spec.PrefixLength
	case len(s.Spec.Prefixes) == 0:
		return 0 // refused
	case s.Spec.Prefixes[0].Addr().Is4():
		return 24
	}
	return 64
}

// Contains tells whether a range lies in one of the pool's.
func (s *SubnetPool) Contains(c netip.Prefix) bool {
	for _, p := range s.Spec.Prefixes {
		if p.Contains(c.Addr()) && p.Bits() <= c.Bits() {
			return true
		}
	}
	return false
}

func (s *SubnetPool) ValidateUpdate(old Object) Problems {
	var p Problems
	for _, was := range old.(*SubnetPool).Spec.Prefixes {
		if !s.Contains(was) {
			p.Addf("spec.prefixes", "%v may not be taken from a pool", was)
		}
	}
	return p
}

func (s *SubnetPool) StatusBody() any { return &s.Status }
