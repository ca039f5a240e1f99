// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// Bridges tells whether the network forwards frames by their MAC. Without a
// tunnel there is nothing to carry them.
func (v VRF) Bridges() bool { return v.Forwarding == api.ForwardingBoth && !v.Fabric || v.Frames() }

// Frames tells whether it does nothing else.
func (v VRF) Frames() bool { return v.Forwarding == api.ForwardingFrames && !v.Fabric }

// MACKey names a MAC of a VRF.
type MACKey struct {
	VRF uint32
	MAC [6]byte
}

// MAC is the port that has it, and that port's host.
type MAC struct{ Port, Host string } // UUIDs

// MACRow is the key of a MAC's row.
func MACRow(k MACKey) string { return fmt.Sprintf("mac/%d/%s", k.VRF, net.HardwareAddr(k.MAC[:])) }

func (r *Rows) insertMAC(key string, m *hoststream.Mac) (string, error) {
	address, err := mac(m.Mac)
	if err != nil {
		return "", fmt.Errorf("MAC of port %s: %w", m.Port, err)
	}
	id := MACKey{m.Vrf, address}
	k := MACRow(id)
	if k == key {
		r.MACs[id] = MAC{m.Port, m.Host}
	}
	return k, nil
}

func (r *Rows) removeMAC(vrf uint32, text string) {
	raw, err := net.ParseMAC(text)
	if err != nil || len(raw) != 6 {
		return
	}
	if k := (MACKey{vrf, [6]byte(raw)}); MACRow(k) == fmt.Sprintf("mac/%d/%s", vrf, text) {
		delete(r.MACs, k)
	}
}
