// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Attachment is how programs are attached to interfaces.
type Attachment string

// The ways to attach.
const (
	// AttachAuto takes tcx where the kernel has it (Linux 6.6), else clsact.
	AttachAuto   Attachment = "auto"
	AttachTCX    Attachment = "tcx"
	AttachClsact Attachment = "clsact"
)

// ParseAttachment reads one of these words.
func ParseAttachment(text string) (Attachment, error) {
	a := Attachment(text)
	if slices.Contains([]Attachment{AttachAuto, AttachTCX, AttachClsact}, a) {
		return a, nil
	}
	return "", fmt.Errorf("attachment %q: want auto, tcx or clsact", text)
}

// ErrNoTCX says that the kernel cannot attach in the way that was asked for.
var ErrNoTCX = errors.New("kernel lacks tcx links, which came with Linux 6.6; clsact works on older ones")

// hook is one way to attach. Its name starts the name of the pinned link.
type hook struct {
	name string
	stub string
}

var (
	portHook   = hook{name: "port", stub: "stub_port"}
	tunnelHook = hook{name: "tunnel", stub: "stub_tunnel"}
	hostHook   = hook{name: "host", stub: "stub_host"}
	fabricHook = hook{name: "fabric", stub: "stub_fabric"}

	limitOutHook = hook{name: "limitout", stub: "stub_limit_out"}
	limitInHook  = hook{name: "limitin", stub: "stub_limit_in"}

	mirrorOutHook = hook{name: "mirrorout", stub: "stub_mirror_out"}
	mirrorInHook  = hook{name: "mirrorin", stub: "stub_mirror_in"}

	// Of the two ends of the mirror path.
	mirrorWrapHook = hook{name: "mirrorwrap", stub: "stub_mirror_wrap"}
	mirrorSendHook = hook{name: "mirrorsend", stub: "stub_mirror_send"}

	toUnderlayHook   = hook{name: "label", stub: "stub_to_underlay"}
	fromUnderlayHook = hook{name: "underlay", stub: "stub_from_underlay"}
)

// AttachPort makes everything a workload sends through its host-side
// interface go through the vRouter. Until [Datapath.Activate] has run once, and
// until the interface is in Ports, that drops it. It must be called in the network
// namespace of the interface. Attaching again is success, and repairs a link
// whose interface has gone and whose index was given to another.
//
// Errors: [ErrNoTCX] if tcx and nothing else was asked for.
func (d *Datapath) AttachPort(ifindex int) error { return d.attach(portHook, ifindex) }

// AttachTunnel does the same for what the vxlan device receives.
func (d *Datapath) AttachTunnel(ifindex int) error { return d.attach(tunnelHook, ifindex) }

// AttachHost does the same for the far end of the host path.
func (d *Datapath) AttachHost(ifindex int) error { return d.attach(hostHook, ifindex) }

// AttachUplink puts the vRouter before what an interface of the host's own
// receives. It takes only what is for workloads in the underlay, and nothing
// before [Datapath.Activate].
func (d *Datapath) AttachUplink(ifindex int) error { return d.attach(fabricHook, ifindex) }

// AttachLabel does the same for the far end of the label path.
func (d *Datapath) AttachLabel(ifindex int) error { return d.attach(toUnderlayHook, ifindex) }

// AttachUnderlay takes MPLS over UDP for this host's tunnel addresses from what
// an interface receives; all else stays the host's.
func (d *Datapath) AttachUnderlay(ifindex int) error { return d.attach(fromUnderlayHook, ifindex) }

// AttachMirrorPath puts the programs on both ends of the path through which copies
// leave: a pair of interfaces of which the near end cuts segments and fills in checksums.
func (d *Datapath) AttachMirrorPath(near, far int) error {
	if err := d.attach(mirrorWrapHook, far); err != nil {
		return err
	}
	return d.attach(mirrorSendHook, near)
}

func (d *Datapath) attach(h hook, ifindex int) error {
	if d.attachment == AttachClsact {
		return d.attachFilter(h, ifindex)
	}
	err := d.attachLink(h, ifindex)
	if d.attachment == AttachAuto && errors.Is(err, ErrNoTCX) {
		d.attachment = AttachClsact
		return d.attachFilter(h, ifindex)
	}
	return err
}

func (d *Datapath) attachLink(h hook, ifindex int) error {
	path := d.linkPath(h, ifindex)
	if linkLives(path, ifindex) {
		return nil
	}
	// Whatever is left under this index belongs to an interface that has
	// gone, or to the other hook.
	if err := d.clear(h, ifindex); err != nil {
		return err
	}
	at, anchor := ebpf.AttachTCXIngress, link.Head()
	switch h {
	case limitInHook:
		at = ebpf.AttachTCXEgress
	case mirrorInHook:
		at, anchor = ebpf.AttachTCXEgress, link.Tail() // what the workload gets
	}
	var l link.Link
	err := d.expedite.during(func() (err error) {
		l, err = link.AttachTCX(link.TCXOptions{
			Interface: ifindex,
			Program:   d.stubs.Programs[h.stub],
			Attach:    at,
			Anchor:    anchor,
		})
		return err
	})
	if errors.Is(err, ebpf.ErrNotSupported) {
		return fmt.Errorf("attach %s to interface %d: %w", h.stub, ifindex, ErrNoTCX)
	}
	if err != nil {
		return fmt.Errorf("attach %s to interface %d: %w", h.stub, ifindex, err)
	}
	defer l.Close()
	if err := l.Pin(path); err != nil {
		return fmt.Errorf("pin link of interface %d: %w", ifindex, err)
	}
	return nil
}

// besidePorts share the interface of a port with its own hook.
var besidePorts = []hook{limitOutHook, limitInHook, mirrorOutHook, mirrorInHook}

// clear takes off an interface what must not be beside a hook. The one for MPLS
// over UDP, and those beside ports, share their interface, and are neither in the way nor have one.
func (d *Datapath) clear(h hook, ifindex int) error {
	if h == fromUnderlayHook || slices.Contains(besidePorts, h) {
		return d.detach(h, ifindex)
	}
	return d.Detach(ifindex)
}

// Detach takes the vRouter off an interface, which then passes nothing to it:
// what a workload sends goes to the host's own stack. Take the interface down
// first if that matters. MPLS over UDP stays: see [Datapath.DetachUnderlay]. Absence is success. Like attaching it must be called
// in the network namespace of the interface.
func (d *Datapath) Detach(ifindex int) error {
	for _, h := range append([]hook{portHook, tunnelHook, hostHook, fabricHook, toUnderlayHook, mirrorWrapHook, mirrorSendHook}, besidePorts...) {
		if err := d.detach(h, ifindex); err != nil {
			return err
		}
	}
	return nil
}

func (d *Datapath) detach(h hook, ifindex int) error {
	if err := d.expedite.during(func() error { return removeLink(d.linkPath(h, ifindex)) }); err != nil {
		return fmt.Errorf("detach interface %d: %w", ifindex, err)
	}
	if err := removeFilter(d.linkPath(h.filter(), ifindex), d.linkPath(h.clsact(), ifindex), ifindex); err != nil {
		return fmt.Errorf("detach interface %d: %w", ifindex, err)
	}
	return nil
}

// removeLink detaches before it removes the pin: with the pin alone the kernel
// detaches some time later.
func removeLink(path string) error {
	l, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open pinned link %s: %w", path, err)
	}
	defer l.Close()
	// A link whose interface has gone is detached already.
	if err := l.Detach(); err != nil && !errors.Is(err, unix.ENOLINK) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("detach link %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // another detaches the same port
		return fmt.Errorf("remove pinned link: %w", err)
	}
	return nil
}

// Attached returns the index of every interface that a link is pinned for,
// sorted, including those that have gone since: what is not wanted of them
// should be detached. Uplinks are not among them, but in [Datapath.Uplinks] and
// [Datapath.AttachedUnderlay].
func (d *Datapath) Attached() ([]int, error) {
	return d.attachedBy(func(h string) bool { return !fabricHook.named(h) && !fromUnderlayHook.named(h) })
}

// named tells whether the first part of a pin's name is of this hook.
func (h hook) named(first string) bool {
	return first == h.name || first == h.filter().name || first == h.clsact().name
}

// Uplinks does the same for uplinks only.
func (d *Datapath) Uplinks() ([]int, error) {
	return d.attachedBy(fabricHook.named)
}

func (d *Datapath) attachedBy(wanted func(hook string) bool) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(d.pinDir, linksName))
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	var attached []int
	for _, e := range entries {
		h, number, _ := strings.Cut(e.Name(), "-")
		ifindex, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("list links: %s is not ours", e.Name())
		}
		if !wanted(h) {
			continue
		}
		attached = append(attached, ifindex)
	}
	slices.Sort(attached)
	return slices.Compact(attached), nil
}

func (d *Datapath) linkPath(h hook, ifindex int) string {
	return filepath.Join(d.pinDir, linksName, fmt.Sprintf("%s-%d", h.name, ifindex))
}

// lives reports whether a hook is on an interface.
func (d *Datapath) lives(h hook, ifindex int) bool {
	return linkLives(d.linkPath(h, ifindex), ifindex) || filterLives(d.linkPath(h.filter(), ifindex), ifindex)
}

// linkLives reports whether a pinned link still holds its interface. The
// kernel sets the index of a link to 0 when the interface goes.
func linkLives(path string, ifindex int) bool {
	l, err := link.LoadPinnedLink(path, nil)
	if err != nil {
		return false
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil || info.TCX() == nil {
		return false
	}
	return int(info.TCX().Ifindex) == ifindex
}

// removeHook takes away what a pin in a directory tells of.
func removeHook(dir, name string) error {
	h, number, _ := strings.Cut(name, "-")
	base, isFilter := strings.CutSuffix(h, filterSuffix)
	switch {
	case strings.HasSuffix(h, clsactSuffix):
		return nil // goes with its filter
	case !isFilter:
		return removeLink(filepath.Join(dir, name))
	}
	ifindex, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("remove %s: it is not ours", name)
	}
	return removeFilter(filepath.Join(dir, name), filepath.Join(dir, base+clsactSuffix+"-"+number), ifindex)
}
