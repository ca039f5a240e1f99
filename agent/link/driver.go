// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Driver works on the interfaces of the namespace it was opened in.
type Driver struct {
	nl Kernel
	// over is put around every way to the kernel.
	over func(Kernel) Kernel
	// attach puts the packet path on an interface; detach takes it off.
	attach, detach func(ifindex int) error
	metrics        sync.Mutex // held while a default route's metric is chosen and used
}

// Open returns a driver for the current network namespace. The functions put
// the packet path of a port on an interface and take it off.
func Open(attach, detach func(ifindex int) error) (*Driver, error) {
	return OpenOver(func(k Kernel) Kernel { return k }, attach, detach)
}

// OpenOver is Open with something put around every way to the kernel, for
// tests in which the kernel refuses.
func OpenOver(over func(Kernel) Kernel, attach, detach func(ifindex int) error) (*Driver, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	return &Driver{nl: over(h), over: over, attach: attach, detach: detach}, nil
}

// Close releases the socket. Interfaces stay.
func (d *Driver) Close() { d.nl.Close() }

func absent(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV)
}

// find returns an interface by name, or nil.
func find(h Kernel, name string) (netlink.Link, error) {
	l, err := h.LinkByName(name)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	return l, nil
}

// quiet keeps the host's own IPv6 off an interface: no link-local address, no
// solicitations. Not being able to write the sysctl (a read-only /proc) only
// leaves more noise, which the packet path consumes.
func quiet(h Kernel, l netlink.Link) error {
	if err := h.LinkSetIP6AddrGenMode(l, addrGenModeNone); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("turn IPv6 autoconfiguration off on %s: %w", l.Attrs().Name, err)
	}
	path := filepath.Join("/proc/sys/net/ipv6/conf", l.Attrs().Name, "disable_ipv6")
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		_, _ = f.WriteString("1") // see above
		f.Close()
	}
	return nil
}

// addrGenModeNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const addrGenModeNone = 1

// Name returns the name of an interface, or "" if it is gone.
func (d *Driver) Name(ifindex int) string {
	l, err := d.nl.LinkByIndex(ifindex)
	if err != nil {
		return ""
	}
	return l.Attrs().Name
}

// Names returns the name of every interface by index.
func (d *Driver) Names() (map[int]string, error) {
	links, err := d.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	return names, nil
}

// Owned returns the port UUID of every interface of a port that we made, by
// name; empty for one whose creation was interrupted.
func (d *Driver) Owned() (map[string]string, error) {
	links, err := d.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	owned := map[string]string{}
	for _, l := range links {
		if port, ok := portOf(l); ok {
			owned[l.Attrs().Name] = port
		}
	}
	return owned, nil
}

// RemoveOwned removes an interface of a port if we made it. Absence is success.
func (d *Driver) RemoveOwned(name string) error {
	l, err := find(d.nl, name)
	if l == nil {
		return err
	}
	if _, ours := portOf(l); !ours {
		return foreign(name)
	}
	return d.remove(l)
}

// remove takes an interface of ours down before the packet path is taken off,
// so that no frame reaches the host in between, and deletes it.
func (d *Driver) remove(l netlink.Link) error {
	if err := d.nl.LinkSetDown(l); err != nil && !absent(err) {
		return fmt.Errorf("take interface %s down: %w", l.Attrs().Name, err)
	}
	if err := d.detach(l.Attrs().Index); err != nil {
		return err
	}
	if err := d.nl.LinkDel(l); err != nil && !absent(err) {
		return fmt.Errorf("remove interface %s: %w", l.Attrs().Name, err)
	}
	return nil
}
