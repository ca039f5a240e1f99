// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net/netip"

	"github.com/weft-network/weft/api/hoststream"
)

// VRF is a network the host needs.
type VRF struct {
	ID, VNI uint32
	Network string // UUID
	Name    string // of the network, fully qualified
	// SourcesListed: only hosts in Rows.Sources may send into the VNI.
	SourcesListed bool
	// Fabric: its workloads are routed in the underlay. HostVisible: hosts and
	// their workloads reach each other by their own addresses.
	Fabric, HostVisible bool
	Services            []FabricService
	Labelled            bool // the VNI is an MPLS label, too
	Disabled            bool // its adminState is down
	// Forwarding is what the network does with frames; empty: packets only.
	Forwarding string
	Flooding   bool
	// Managed are the subnets of the networks whose workloads it knows.
	Managed []netip.Prefix
	// Segment is where it is in the physical network, if it is external.
	Segment Segment
}

// VRFRow is the key of a VRF's row.
func VRFRow(vrf uint32) string { return fmt.Sprintf("vrf/%d", vrf) }

func (r *Rows) insertVRF(key string, v *hoststream.Vrf) (string, error) {
	managed, err := prefixes(v.Managed)
	if err != nil {
		return "", fmt.Errorf("subnets of VRF %d: %w", v.Vrf, err)
	}
	at, err := segment(v.Segment)
	if err != nil {
		return "", fmt.Errorf("segment of VRF %d: %w", v.Vrf, err)
	}
	k := VRFRow(v.Vrf)
	if k == key {
		r.VRFs[v.Vrf] = VRF{ID: v.Vrf, VNI: v.Vni, Network: v.Network, Name: v.NetworkName, SourcesListed: v.SourcesListed, Fabric: v.Fabric, HostVisible: v.HostVisible, Services: fabricServices(v.Services), Disabled: v.Disabled, Labelled: v.Labelled, Forwarding: v.Forwarding, Flooding: v.Flooding, Managed: managed, Segment: at}
	}
	return k, nil
}

// Disabled says why nothing is to pass a port: its adminState, or its
// network's, is down. Empty if it may.
func (r Rows) Disabled(p Port) string {
	switch v := r.VRFs[p.VRF]; {
	case p.Disabled:
		return "adminState of the port is down"
	case r.Ports[p.Trunk].Disabled:
		return "adminState of the port that carries it is down"
	case v.Disabled:
		return "adminState of network " + v.Name + " is down"
	}
	return ""
}
