// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
)

// The two ends of the label path: where the packet path sends frames that are
// to leave by MPLS over UDP, and where each comes out as single packets.
const (
	LabelNearName = "weft-mpls"
	LabelFarName  = "weft-label"
)

const labelPathAlias = "weft:label-path"

// labelPathMTU is the largest: what the underlay carries is checked behind it.
const labelPathMTU = 65535

// EnsureLabelPath makes the pair and returns the indexes of both ends, which are
// left down until StartLabelPath.
func (d *Driver) EnsureLabelPath() (near, far int, err error) {
	l, err := find(d.nl, LabelNearName)
	if err != nil {
		return 0, 0, err
	}
	if l == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Group, attrs.MTU = LabelNearName, group, labelPathMTU
		if err := d.nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: LabelFarName, PeerMTU: labelPathMTU, PeerTxQLen: -1}); err != nil {
			return 0, 0, fmt.Errorf("create %s with %s: %w", LabelNearName, LabelFarName, err)
		}
		if l, err = d.nl.LinkByName(LabelNearName); err != nil {
			return 0, 0, fmt.Errorf("find %s after creating it: %w", LabelNearName, err)
		}
	}
	if !marked(l) {
		return 0, 0, foreign(LabelNearName)
	}
	end, err := d.nl.LinkByName(LabelFarName)
	if err != nil || end.Attrs().Index != l.Attrs().ParentIndex {
		// Half of an interrupted creation, or of somebody's renaming.
		return 0, 0, errors.Join(fmt.Errorf("find the other end of %s: it is not %s", LabelNearName, LabelFarName), d.remove(l))
	}
	return l.Attrs().Index, end.Attrs().Index, d.settleLabelPath(l, end)
}

func (d *Driver) settleLabelPath(near, end netlink.Link) error {
	for _, l := range []netlink.Link{near, end} {
		if err := d.nl.LinkSetGroup(l, group); err != nil {
			return fmt.Errorf("mark %s: %w", l.Attrs().Name, err)
		}
		if err := d.nl.LinkSetAlias(l, labelPathAlias); err != nil {
			return fmt.Errorf("mark %s: %w", l.Attrs().Name, err)
		}
		if err := quiet(d.nl, l); err != nil {
			return err
		}
	}
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("open ethtool socket: %w", err)
	}
	defer e.Close()
	// Without these the kernel cuts segments and fills checksums in before it
	// hands frames to the pair: nothing has to be cut around a label.
	if err := e.Change(LabelNearName, map[string]bool{"tx-scatter-gather": false, "tx-checksum-ip-generic": false}); err != nil {
		return fmt.Errorf("turn offloads off on %s: %w", LabelNearName, err)
	}
	return nil
}

// StartLabelPath brings both ends up.
func (d *Driver) StartLabelPath() error {
	for _, name := range []string{LabelFarName, LabelNearName} {
		l, err := d.nl.LinkByName(name)
		if err == nil {
			err = d.nl.LinkSetUp(l)
		}
		if err != nil {
			return fmt.Errorf("bring %s up: %w", name, err)
		}
	}
	return nil
}

// RemoveLabelPath removes the pair if it is ours. Absence is success.
func (d *Driver) RemoveLabelPath() error {
	l, err := find(d.nl, LabelNearName)
	if l == nil || err != nil || !marked(l) {
		return err
	}
	return d.remove(l)
}
