// SPDX-License-Identifier: Apache-2.0

package api

import "slices"

// Labels of MPLS that may be a network's: those below are reserved (RFC 3032,
// section 2.1), and a label has 20 bits.
const (
	MinLabel = 16
	MaxLabel = 1<<20 - 1
)

// LabelOf returns the MPLS label of a network on every host, which is its VNI;
// false for a VNI that is no label.
func LabelOf(vni uint32) (label uint32, ok bool) {
	return vni, vni >= MinLabel && vni <= MaxLabel
}

// Encapsulations returns a list, or what counts where none is given.
func Encapsulations(list []string) []string {
	if len(list) == 0 {
		return []string{EncapsulationVXLAN}
	}
	return list
}

// ChooseEncapsulation returns the first of a network's list that both hosts can
// do; false if there is none. Lists that are absent mean VXLAN.
func ChooseEncapsulation(network, one, other []string) (encapsulation string, ok bool) {
	for _, e := range Encapsulations(network) {
		if slices.Contains(Encapsulations(one), e) && slices.Contains(Encapsulations(other), e) {
			return e, true
		}
	}
	return "", false
}
