// SPDX-License-Identifier: Apache-2.0

package api

// IPAM is an address space that several networks share: no address is given
// out twice in all of them together. Their subnets either do not overlap or
// are the same range with the same gateway.
type IPAM struct {
	Header
	Spec   IPAMSpec   `json:"spec"`
	Status IPAMStatus `json:"status,omitzero"`
}

// IPAMSpec says nothing: an ipam is there to be referred to.
type IPAMSpec struct{}

// IPAMStatus is what the system reports of an ipam.
type IPAMStatus struct {
	Conditions []Condition `json:"conditions,omitempty"`
}

func (i *IPAM) Refs() []FieldRef { return nil }

func (i *IPAM) Claims() []Claim { return nil }

func (i *IPAM) Guards() []string { return nil }

func (i *IPAM) Validate() Problems { return nil }

func (i *IPAM) ValidateUpdate(Object) Problems { return nil }

func (i *IPAM) StatusBody() any { return &i.Status }

// spaceOf is the UUID of the address space of what is in a network: the shared
// one, if it has one.
func spaceOf(network Ref, shared string) string {
	if shared != "" {
		return shared
	}
	return network.UUID
}
