// SPDX-License-Identifier: Apache-2.0

package namespace

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// VLAN is an interface whose frames carry a VLAN tag on another one: a device of
// the kernel's module 8021q, or, for not every kernel can load that, a pair of
// virtual Ethernet interfaces with eBPF at its far end.
type VLAN struct {
	Namespace string // that has Parent
	Parent    string
	ID        uint16
	Inside    string // namespace that gets the interface
	Name      string // of it there
	MAC       net.HardwareAddr
	MTU       int
	links     []link.Link
}

// Add makes the interface, down and without addresses. It works until Close,
// and goes with either namespace.
func (v *VLAN) Add() error {
	far, err := netns.GetFromPath(Path(v.Inside))
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", v.Inside, err)
	}
	defer far.Close()
	err = Do(v.Namespace, func() error {
		parent, err := netlink.LinkByName(v.Parent)
		if err != nil {
			return err
		}
		own, err := v.device(parent, far)
		if own || err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = fmt.Sprintf("vlan%d", v.ID), v.MTU
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: v.Name, PeerNamespace: netlink.NsFd(int(far)), PeerHardwareAddr: v.MAC, PeerMTU: uint32(v.MTU)}); err != nil {
			return err
		}
		pair, err := netlink.LinkByName(attrs.Name)
		if err == nil {
			err = netlink.LinkSetUp(pair)
		}
		if err == nil {
			err = v.attach(pair.Attrs().Index, push(v.ID, parent.Attrs().Index))
		}
		if err == nil {
			err = v.attach(parent.Attrs().Index, pop(v.ID, pair.Attrs().Index))
		}
		return err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("make VLAN %d of %s in %s: %w", v.ID, v.Parent, v.Namespace, err), v.Close())
	}
	return nil
}

// device makes a device of the module 8021q; own is false if the kernel has none.
func (v *VLAN) device(parent netlink.Link, far netns.NsHandle) (own bool, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.ParentIndex, attrs.HardwareAddr = fmt.Sprintf("vlan%d", v.ID), v.MTU, parent.Attrs().Index, v.MAC
	device := &netlink.Vlan{LinkAttrs: attrs, VlanId: int(v.ID), VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
	if err := netlink.LinkAdd(device); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			err = nil
		}
		return false, err
	}
	if err := netlink.LinkSetNsFd(device, int(far)); err != nil {
		return true, err
	}
	inside, err := netlink.NewHandleAt(far, unix.NETLINK_ROUTE)
	if err != nil {
		return true, err
	}
	defer inside.Close()
	moved, err := inside.LinkByName(attrs.Name)
	if err != nil {
		return true, err
	}
	return true, inside.LinkSetName(moved, v.Name)
}

// Close ends the tagging.
func (v *VLAN) Close() (err error) {
	for _, l := range v.links {
		err = errors.Join(err, l.Close())
	}
	v.links = nil
	return err
}

func (v *VLAN) attach(ifindex int, instructions asm.Instructions) error {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: instructions, License: "Apache-2.0"})
	if err != nil {
		return err
	}
	defer program.Close()
	l, err := link.AttachTCX(link.TCXOptions{Interface: ifindex, Program: program, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return err
	}
	v.links = append(v.links, l)
	return nil
}

const (
	protocolVLAN   = 0x0081 // 8100 in network byte order, read on a little-endian machine
	vlanPresent    = 20     // offsets in struct __sk_buff of linux/bpf.h
	vlanTCI        = 24
	tcxNext        = -1
	vlanIdentifier = 0x0fff
)

// push tags every frame and sends it out of an interface.
func push(vlan uint16, ifindex int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R2, protocolVLAN),
		asm.Mov.Imm(asm.R3, int32(vlan)),
		asm.FnSkbVlanPush.Call(),
		asm.Mov.Imm(asm.R1, int32(ifindex)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	}
}

// pop takes frames with a tag, and sends them without it out of an interface.
func pop(vlan uint16, ifindex int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, vlanPresent, asm.Word),
		asm.JEq.Imm(asm.R2, 0, "next"),
		asm.LoadMem(asm.R2, asm.R6, vlanTCI, asm.Word),
		asm.And.Imm(asm.R2, vlanIdentifier),
		asm.JNE.Imm(asm.R2, int32(vlan), "next"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnSkbVlanPop.Call(),
		asm.Mov.Imm(asm.R1, int32(ifindex)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, tcxNext).WithSymbol("next"),
		asm.Return(),
	}
}
