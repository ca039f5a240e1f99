// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
)

// tunnelMTU is large so that the device never limits what the underlay would
// carry; ports have the MTU that matters. 65535 less the largest overhead (70),
// rounded down to what vxlan accepts for both families.
const tunnelMTU = 65000

// EnsureTunnel makes the vxlan device and returns its index. One that is ours
// and has other settings is replaced. It is left down until StartTunnel, so
// that nothing comes in before the packet path is attached.
func (d *Driver) EnsureTunnel(port int) (ifindex int, err error) {
	l, err := find(d.nl, TunnelName)
	if err != nil {
		return 0, err
	}
	if l != nil {
		if !marked(l) {
			return 0, foreign(TunnelName)
		}
		v, ok := l.(*netlink.Vxlan)
		if ok && v.FlowBased && v.Port == port {
			return l.Attrs().Index, d.settleTunnel(l)
		}
		if err := d.remove(l); err != nil {
			return 0, err
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Group, attrs.MTU = TunnelName, group, tunnelMTU
	// Learning makes no sense without addresses in the device; the outer UDP
	// checksum is set for each packet by the packet path.
	v := &netlink.Vxlan{LinkAttrs: attrs, FlowBased: true, Port: port, UDPCSum: true, UDP6ZeroCSumRx: true}
	if err := d.nl.LinkAdd(v); err != nil {
		return 0, fmt.Errorf("create %s on UDP port %d: %w", TunnelName, port, err)
	}
	made, err := d.nl.LinkByName(TunnelName)
	if err != nil {
		return 0, fmt.Errorf("find %s after creating it: %w", TunnelName, err)
	}
	return made.Attrs().Index, d.settleTunnel(made)
}

// settleTunnel repairs what may be missing after an interrupted creation.
func (d *Driver) settleTunnel(l netlink.Link) error {
	if l.Attrs().Alias != tunnelAlias {
		if err := d.nl.LinkSetAlias(l, tunnelAlias); err != nil {
			return fmt.Errorf("mark %s: %w", TunnelName, err)
		}
	}
	if err := quiet(d.nl, l); err != nil {
		return err
	}
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("open ethtool socket: %w", err)
	}
	defer e.Close()
	// Aggregating after decapsulation costs more than it gains: the underlay's
	// interface has aggregated already (0.93 to 0.96 of host to host without).
	if err := e.Change(TunnelName, map[string]bool{"rx-gro": false}); err != nil {
		return fmt.Errorf("turn GRO off on %s: %w", TunnelName, err)
	}
	return nil
}

// StartTunnel brings the vxlan device up.
func (d *Driver) StartTunnel(ifindex int) error {
	l, err := d.nl.LinkByIndex(ifindex)
	if err == nil {
		err = d.nl.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("bring %s up: %w", TunnelName, err)
	}
	return nil
}

// RemoveTunnel removes the vxlan device if it is ours. Absence is success.
func (d *Driver) RemoveTunnel() error {
	l, err := find(d.nl, TunnelName)
	if l == nil || err != nil {
		return err
	}
	if !marked(l) {
		return nil
	}
	return d.remove(l)
}
