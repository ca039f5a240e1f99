// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The two ends of the host path: the host's own TCP/IP and the vRouter.
const (
	HostPathName = "weft0"
	PathEndName  = "weft-path"
)

const hostPathAlias = "weft:host-path"

// HostPathMAC is the address of weft0: locally administered, "weft".
var HostPathMAC = [6]byte{0x02, 'w', 'e', 'f', 't', 0}

// EnsureHostPath makes the pair of interfaces through which this host and its
// workloads reach each other and returns the index of the vRouter's end. The
// prefixes are the host's own aliases; addresses of the others lead to it. Both
// ends are left down until StartHostPath. A host without IPv6 gets the rest.
func (d *Driver) EnsureHostPath(own []netip.Prefix) (far int, err error) {
	near, err := find(d.nl, HostPathName)
	if err != nil {
		return 0, err
	}
	if near == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Group, attrs.HardwareAddr = HostPathName, group, HostPathMAC[:]
		if err := d.nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: PathEndName, PeerTxQLen: -1}); err != nil {
			return 0, fmt.Errorf("create %s with %s: %w", HostPathName, PathEndName, err)
		}
		if near, err = d.nl.LinkByName(HostPathName); err != nil {
			return 0, fmt.Errorf("find %s after creating it: %w", HostPathName, err)
		}
	}
	if !marked(near) {
		return 0, foreign(HostPathName)
	}
	end, err := d.nl.LinkByName(PathEndName)
	if err != nil || end.Attrs().Index != near.Attrs().ParentIndex {
		// Half of an interrupted creation, or of somebody's renaming.
		return 0, errors.Join(fmt.Errorf("find the other end of %s: it is not %s", HostPathName, PathEndName), d.remove(near))
	}
	return end.Attrs().Index, d.settleHostPath(near, end, own)
}

func (d *Driver) settleHostPath(near, end netlink.Link, own []netip.Prefix) error {
	for _, l := range []netlink.Link{near, end} {
		if err := d.nl.LinkSetGroup(l, group); err != nil {
			return fmt.Errorf("mark %s: %w", l.Attrs().Name, err)
		}
		if err := d.nl.LinkSetAlias(l, hostPathAlias); err != nil {
			return fmt.Errorf("mark %s: %w", l.Attrs().Name, err)
		}
	}
	if err := quiet(d.nl, end); err != nil {
		return err
	}
	// Nobody answers ARP there: all aliases are behind the one other end.
	if err := d.nl.LinkSetARPOff(near); err != nil {
		return fmt.Errorf("turn ARP off on %s: %w", HostPathName, err)
	}
	if err := d.nl.LinkSetIP6AddrGenMode(near, addrGenModeNone); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("turn IPv6 autoconfiguration off on %s: %w", HostPathName, err)
	}
	setting(HostPathName, "disable_ipv6", "0") // as a host that turns it off by default has
	setting(HostPathName, "accept_ra", "0")
	for _, p := range own {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, Scope: unix.RT_SCOPE_LINK}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := d.nl.AddrReplace(near, a); err != nil && !p.Addr().Is6() {
			return fmt.Errorf("set address %v on %s: %w", p, HostPathName, err)
		}
	}
	return nil
}

// setting writes a sysctl of an interface where that is possible.
func setting(name, key, value string) {
	if f, err := os.OpenFile(filepath.Join("/proc/sys/net/ipv6/conf", name, key), os.O_WRONLY, 0); err == nil {
		_, _ = f.WriteString(value) // without IPv6 there is nothing to set
		f.Close()
	}
}

// StartHostPath brings both ends up.
func (d *Driver) StartHostPath() error {
	for _, name := range []string{PathEndName, HostPathName} {
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

// RemoveHostPath removes the pair if it is ours. Absence is success.
func (d *Driver) RemoveHostPath() error {
	l, err := find(d.nl, HostPathName)
	if l == nil || err != nil || !marked(l) {
		return err
	}
	return d.remove(l)
}
