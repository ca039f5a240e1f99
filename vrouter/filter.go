// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A filter of the clsact queueing discipline does what a tcx link does, on
// kernels that have no tcx. It has no owner and no pin: it lives as long as
// its interface. What we attached is known by a second pin of the stub, at
// links/<hook>+filter-<ifindex>, and by our name on the filter; that the
// queueing discipline is ours too, by a third at links/<hook>+clsact-<ifindex>.
const (
	filterSuffix = "+filter" // bpffs takes no dots
	clsactSuffix = "+clsact"
	// filterHandle tells ours from others of the same priority; it spells weft.
	// That of a limit beside a port's hook is one more, that of a mirror two.
	filterHandle     = 0x77656674
	lastFilterHandle = filterHandle + 2
	filterPriority   = 1 // the first that tc can give
)

// priority lets two hooks share an interface.
func (h hook) priority() uint16 {
	if h == fromUnderlayHook {
		return filterPriority + 1
	}
	return filterPriority
}

// handle lets a limit or a mirror share an interface with the port's own hook. Of filters
// with one priority the last one comes first, so it is before the packet path's.
func (h hook) handle() uint32 {
	switch h {
	case limitOutHook:
		return filterHandle + 1
	case mirrorOutHook, mirrorInHook:
		return lastFilterHandle
	}
	return filterHandle
}

func (h hook) parent() uint32 {
	if h == limitInHook || h == mirrorInHook {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

func (h hook) filter() hook { return hook{name: h.name + filterSuffix, stub: h.stub} }
func (h hook) clsact() hook { return hook{name: h.name + clsactSuffix, stub: h.stub} }

// attachFilter attaches a hook as a filter. It must be called in the network
// namespace of the interface.
func (d *Datapath) attachFilter(h hook, ifindex int) error {
	path := d.linkPath(h.filter(), ifindex)
	if _, err := os.Stat(d.linkPath(h, ifindex)); err != nil && filterLives(path, ifindex) {
		return nil
	}
	if err := d.clear(h, ifindex); err != nil {
		return err
	}
	clsact := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	err := netlink.QdiscAdd(clsact)
	if err == nil {
		err = d.pinStub(h, d.linkPath(h.clsact(), ifindex))
	}
	if err != nil && !errors.Is(err, unix.EEXIST) { // somebody else's serves as well
		return fmt.Errorf("add clsact to interface %d: %w", ifindex, err)
	}
	// The pin first: a filter that nothing tells of would never be removed.
	if err := d.pinStub(h, path); err != nil {
		return err
	}
	err = netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: ifindex, Parent: h.parent(), Handle: h.handle(), Priority: h.priority(), Protocol: unix.ETH_P_ALL,
		},
		Fd: d.stubs.Programs[h.stub].FD(), Name: "weft_" + h.name, DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("attach %s to interface %d as a filter: %w", h.stub, ifindex, err)
	}
	return nil
}

// pinStub pins a copy: a program knows one pin and would move it.
func (d *Datapath) pinStub(h hook, path string) error {
	return pinCopy(d.stubs.Programs[h.stub], path)
}

func pinCopy(program *ebpf.Program, path string) error {
	p, err := program.Clone()
	if err == nil {
		err = p.Pin(path)
		err = errors.Join(err, p.Close())
	}
	if err != nil {
		return fmt.Errorf("pin %s at %s: %w", program, path, err)
	}
	return nil
}

// pinnedID returns the id of a pinned program.
func pinnedID(path string) (ebpf.ProgramID, error) {
	p, err := ebpf.LoadPinnedProgram(path, nil)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return 0, err
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("kernel does not tell the id of a program")
	}
	return id, nil
}

// ourFilters lists the filters of an interface that run a program. An
// interface that is not there has none.
func ourFilters(ifindex int, id ebpf.ProgramID) (ours []netlink.Filter, others int, err error) {
	l, err := netlink.LinkByIndex(ifindex)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := netlink.FilterList(l, parent)
		if err != nil {
			return nil, 0, err
		}
		for _, f := range filters {
			if b, ok := f.(*netlink.BpfFilter); ok && b.Id == int(id) && b.Handle >= filterHandle && b.Handle <= lastFilterHandle {
				ours = append(ours, f)
			} else {
				others++
			}
		}
	}
	return ours, others, nil
}

// filterLives reports whether the filter that a pin tells of is on the interface.
func filterLives(path string, ifindex int) bool {
	id, err := pinnedID(path)
	if err != nil {
		return false
	}
	ours, _, err := ourFilters(ifindex, id)
	return err == nil && len(ours) == 1
}

// removeFilter takes a filter away, and the queueing discipline with it if it
// is ours and nobody else uses it, and then the pins. It must be called in the
// network namespace of the interface: elsewhere another interface may have the
// index, whose filters are not touched. Absence is success.
func removeFilter(filterPath, clsactPath string, ifindex int) error {
	id, err := pinnedID(filterPath)
	if err == nil {
		err = removeOurs(ifindex, id, clsactPath)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove filter of interface %d: %w", ifindex, err)
	}
	for _, path := range []string{clsactPath, filterPath} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove pin of a filter: %w", err)
		}
	}
	return nil
}

func removeOurs(ifindex int, id ebpf.ProgramID, clsactPath string) error {
	ours, others, err := ourFilters(ifindex, id)
	if err != nil {
		return err
	}
	for _, f := range ours {
		if err := netlink.FilterDel(f); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	if _, err := os.Stat(clsactPath); err != nil || len(ours) == 0 || others > 0 {
		return nil
	}
	clsact := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := netlink.QdiscDel(clsact); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}
