// SPDX-License-Identifier: Apache-2.0

package api

// KindAddressScope is a set of subnet-pools whose addresses mean one thing.
const KindAddressScope Kind = "address-scope"

// AddressScope is an address space that several subnet-pools make up: no two of
// them have an address in common, so neither have their subnets, in whatever
// networks. Networks of one scope can be routed to each other as they are.
type AddressScope struct {
	Header
	Spec   AddressScopeSpec `json:"spec"`
	Status Reported         `json:"status,omitzero"`
}

// AddressScopeSpec is fixed at creation.
type AddressScopeSpec struct {
	Family Family `json:"family" enum:"IPv4,IPv6" doc:"IPv4 or IPv6; fixed."`
}

func (a *AddressScope) Validate() Problems { return checkFields(a.Spec) }

func (a *AddressScope) ValidateUpdate(old Object) Problems {
	var p Problems
	immutable(&p, "spec.family", old.(*AddressScope).Spec.Family, a.Spec.Family)
	return p
}

func (a *AddressScope) StatusBody() any { return &a.Status }
