// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// End is one end of a pair of virtual Ethernet interfaces.
type End struct {
	Namespace string
	Name      string
	Addresses []netip.Prefix
	Bridge    string // name of a bridge to join, in the same namespace
	GRO       bool   // receive offload, as every real network card has it
}

// Veth makes a pair of virtual Ethernet interfaces, both ends up. Neither end
// is ever in the caller's namespace.
func Veth(a, b End, mtu int) error {
	h, err := Netlink(a.Namespace)
	if err != nil {
		return err
	}
	defer h.Close()
	peer, err := netns.GetFromPath(Path(b.Namespace))
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", b.Namespace, err)
	}
	defer peer.Close()
	link := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: a.Name, MTU: mtu},
		PeerName:      b.Name,
		PeerNamespace: netlink.NsFd(peer),
	}
	if err := h.LinkAdd(link); err != nil {
		return fmt.Errorf("create veth %s in %s to %s in %s: %w", a.Name, a.Namespace, b.Name, b.Namespace, err)
	}
	for _, e := range []End{a, b} {
		if err := e.configure(mtu); err != nil {
			return err
		}
	}
	return nil
}

func (e End) configure(mtu int) error {
	h, err := Netlink(e.Namespace)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(e.Name)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", e.Name, e.Namespace, err)
	}
	if err := h.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set MTU of %s in %s to %d: %w", e.Name, e.Namespace, mtu, err)
	}
	if e.Bridge != "" {
		bridge, err := h.LinkByName(e.Bridge)
		if err != nil {
			return fmt.Errorf("find bridge %s in %s: %w", e.Bridge, e.Namespace, err)
		}
		if err := h.LinkSetMaster(link, bridge); err != nil {
			return fmt.Errorf("put %s into bridge %s in %s: %w", e.Name, e.Bridge, e.Namespace, err)
		}
	}
	if e.GRO {
		if err := SetOffloads(e.Namespace, e.Name, map[string]bool{"rx-gro": true}); err != nil {
			return err
		}
	}
	for _, p := range e.Addresses {
		if err := h.AddrAdd(link, address(p)); err != nil {
			return fmt.Errorf("give %v to %s in %s: %w", p, e.Name, e.Namespace, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s in %s up: %w", e.Name, e.Namespace, err)
	}
	return nil
}

// address leaves out duplicate address detection: in a lab addresses are
// unique by construction and its second of waiting would only cost time.
func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// AddAddress gives an interface one more address.
func AddAddress(name, link string, p netip.Prefix) error {
	return eachAddress(name, link, p, (*netlink.Handle).AddrAdd, "give")
}

// RemoveAddress takes an address from an interface.
func RemoveAddress(name, link string, p netip.Prefix) error {
	return eachAddress(name, link, p, (*netlink.Handle).AddrDel, "take")
}

func eachAddress(name, link string, p netip.Prefix, do func(*netlink.Handle, netlink.Link, *netlink.Addr) error, verb string) error {
	h, err := Netlink(name)
	if err != nil {
		return err
	}
	defer h.Close()
	l, err := h.LinkByName(link)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", link, name, err)
	}
	if err := do(h, l, address(p)); err != nil {
		return fmt.Errorf("%s %v, interface %s in %s: %w", verb, p, link, name, err)
	}
	return nil
}

// SetOffloads changes what the interface's driver does for the stack.
func SetOffloads(name, link string, features map[string]bool) error {
	return Do(name, func() error {
		e, err := ethtool.NewEthtool()
		if err != nil {
			return fmt.Errorf("open ethtool in %s: %w", name, err)
		}
		defer e.Close()
		if err := e.Change(link, features); err != nil {
			return fmt.Errorf("change offloads of %s in %s to %v: %w", link, name, features, err)
		}
		return nil
	})
}

// Bridge makes a bridge that is up.
func Bridge(name, link string, mtu int) error {
	h, err := Netlink(name)
	if err != nil {
		return err
	}
	defer h.Close()
	off := false
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: link, MTU: mtu}, MulticastSnooping: &off}
	if err := h.LinkAdd(br); err != nil {
		return fmt.Errorf("create bridge %s in %s: %w", link, name, err)
	}
	if err := h.LinkSetUp(br); err != nil {
		return fmt.Errorf("set bridge %s in %s up: %w", link, name, err)
	}
	return nil
}

// upTimeout bounds WaitUp; the kernel tells of carriers about once a second.
const upTimeout = 5 * time.Second

// WaitUp waits until interfaces are operational. A bridge forwards to a port
// only then, and the kernel may take a second to notice that a cable is in.
func WaitUp(name string, links ...string) error {
	h, err := Netlink(name)
	if err != nil {
		return err
	}
	defer h.Close()
	until := time.Now().Add(upTimeout)
	for _, link := range links {
		for {
			l, err := h.LinkByName(link)
			if err != nil {
				return fmt.Errorf("find %s in %s: %w", link, name, err)
			}
			if l.Attrs().OperState == netlink.OperUp {
				break
			}
			if time.Now().After(until) {
				return fmt.Errorf("wait for %s in %s: still %v after %v", link, name, l.Attrs().OperState, upTimeout)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// Links returns the names of the interfaces of a namespace.
func Links(name string) ([]string, error) {
	h, err := Netlink(name)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces of %s: %w", name, err)
	}
	names := make([]string, len(links))
	for i, l := range links {
		names[i] = l.Attrs().Name
	}
	return names, nil
}
