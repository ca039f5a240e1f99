// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// capturesName is the directory with a pin for each filter of the clsact queueing
// discipline that a capture made: <interface>-<number of the filter>. A tcx link of
// a capture is not pinned, so that it ends with its process.
const capturesName = "captures"

// captureHandle and the number of a capture on its interface, doubled, and one
// more for egress, make the handle of a filter. It spells wc.
const captureHandle = 0x7763_0000

// maxCaptures is how many captures there may be on one interface.
const maxCaptures = 16

// attachCapture puts a program before all others at ingress and after them at
// egress, and returns what takes it off.
func (d *Datapath) attachCapture(program *ebpf.Program, ifindex int, egress bool) (remove func() error, err error) {
	if d.attachment != AttachClsact {
		remove, err = d.attachCaptureLink(program, ifindex, egress)
		if !errors.Is(err, ErrNoTCX) || d.attachment == AttachTCX {
			return remove, err
		}
	}
	return d.attachCaptureFilter(program, ifindex, egress)
}

func (d *Datapath) attachCaptureLink(program *ebpf.Program, ifindex int, egress bool) (remove func() error, err error) {
	at, anchor := ebpf.AttachTCXIngress, link.Head()
	if egress {
		at, anchor = ebpf.AttachTCXEgress, link.Tail() // after a limit: what the workload gets
	}
	var l link.Link
	err = d.expedite.during(func() (err error) {
		l, err = link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: program, Attach: at, Anchor: anchor})
		return err
	})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return nil, ErrNoTCX
	}
	if err != nil {
		return nil, fmt.Errorf("attach: %w", err)
	}
	return func() error {
		return d.expedite.during(func() error {
			// A link whose interface has gone is detached already.
			if err := l.Detach(); err != nil && !errors.Is(err, unix.ENOLINK) && !errors.Is(err, unix.ENOENT) {
				return errors.Join(fmt.Errorf("detach capture: %w", err), l.Close())
			}
			return l.Close()
		})
	}, nil
}

// attachCaptureFilter does the same where there is no tcx. Of filters with one
// priority the last one comes first, so it is before the packet path's.
func (d *Datapath) attachCaptureFilter(program *ebpf.Program, ifindex int, egress bool) (remove func() error, err error) {
	dir := filepath.Join(d.pinDir, capturesName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create directory of captures: %w", err)
	}
	number, parent := uint32(0), uint32(netlink.HANDLE_MIN_INGRESS)
	if egress {
		number, parent = 1, netlink.HANDLE_MIN_EGRESS
	}
	path := func() string { return filepath.Join(dir, fmt.Sprintf("%d-%d", ifindex, number)) }
	for ; ; number += 2 {
		if number >= 2*maxCaptures {
			return nil, fmt.Errorf("attach: there are %d captures of this interface already", maxCaptures)
		}
		if _, err := os.Stat(path()); errors.Is(err, os.ErrNotExist) {
			break
		}
	}
	pin := path()
	// The pin first: a filter that nothing tells of would never be removed.
	if err := pinCopy(program, pin); err != nil {
		return nil, err
	}
	err = netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: ifindex, Parent: parent, Handle: captureHandle + number, Priority: filterPriority, Protocol: unix.ETH_P_ALL},
		Fd:          program.FD(), Name: "weft_capture", DirectAction: true,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach as a filter: %w", err), os.Remove(pin))
	}
	return func() error { return removeCapture(pin) }, nil
}

// removeCapture takes a filter away and then its pin. The queueing discipline is
// the packet path's, or somebody else's.
func removeCapture(pin string) error {
	device, number, _ := strings.Cut(filepath.Base(pin), "-")
	ifindex, err1 := strconv.Atoi(device)
	n, err2 := strconv.ParseUint(number, 10, 16)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("remove capture %s: it is not ours", pin)
	}
	id, err := pinnedID(pin)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = removeCaptureFilters(ifindex, captureHandle+uint32(n), id)
	}
	if err != nil {
		return fmt.Errorf("remove capture of interface %d: %w", ifindex, err)
	}
	if err := os.Remove(pin); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove pin of a capture: %w", err)
	}
	return nil
}

func removeCaptureFilters(ifindex int, handle uint32, id ebpf.ProgramID) error {
	l, err := netlink.LinkByIndex(ifindex)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filters, err := netlink.FilterList(l, parent)
		if err != nil {
			return err
		}
		for _, f := range filters {
			if b, ok := f.(*netlink.BpfFilter); !ok || b.Handle != handle || b.Id != int(id) {
				continue
			}
			if err := netlink.FilterDel(f); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
				return err
			}
		}
	}
	return nil
}

// SweepCaptures removes what captures of a process that was killed left, in the
// network namespace of the interfaces.
func (d *Datapath) SweepCaptures() error { return sweepCaptures(d.pinDir) }

func sweepCaptures(pinDir string) error {
	dir := filepath.Join(pinDir, capturesName)
	left, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list captures: %w", err)
	}
	for _, e := range left {
		if err := removeCapture(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(dir); err != nil {
		return fmt.Errorf("remove directory of captures: %w", err)
	}
	return nil
}
