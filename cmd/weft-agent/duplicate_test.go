// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// detect configures IPv6 addresses in a workload as people do, with duplicate
// address detection, returns what the kernel makes of each, and takes them away.
func detect(t *testing.T, ns string, addresses ...string) (failed map[string]bool) {
	t.Helper()
	each := func(l netlink.Link, change func(netlink.Link, *netlink.Addr) error) (err error) {
		for _, a := range addresses {
			err = errors.Join(err, change(l, &netlink.Addr{IPNet: &net.IPNet{IP: netip.MustParseAddr(a).AsSlice(), Mask: net.CIDRMask(64, 128)}}))
		}
		return err
	}
	var l netlink.Link
	inside(t, ns, func() (err error) {
		if l, err = netlink.LinkByName("eth0"); err == nil {
			err = each(l, netlink.AddrAdd)
		}
		return err
	})
	eventually(t, func() (state error) {
		failed = map[string]bool{}
		inside(t, ns, func() error {
			all, err := netlink.AddrList(l, netlink.FAMILY_V6)
			for _, a := range all {
				if bad := a.Flags&syscall.IFA_F_DADFAILED != 0; bad || a.Flags&syscall.IFA_F_TENTATIVE == 0 {
					failed[a.IP.String()] = bad
				}
			}
			return err
		})
		for _, a := range addresses {
			if _, known := failed[a]; !known {
				state = fmt.Errorf("detection of %s goes on", a)
			}
		}
		return state
	})
	inside(t, ns, func() error { return each(l, netlink.AddrDel) })
	return failed
}

// detect4 asks as a host does before it takes an IPv4 address (RFC 5227).
func detect4(t *testing.T, ns, address string) (failed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	c := exec.CommandContext(ctx, "busybox", "arping", "-D", "-f", "-c", "3", "-w", "4", "-I", "eth0", address)
	c.Stdout, c.Stderr = &out, &out
	command(t, ns, c)
	err := c.Wait()
	var status *exec.ExitError
	if err != nil && (!errors.As(err, &status) || status.ExitCode() != 1) {
		t.Errorf("arping: %v\n%s", err, out.String())
	}
	return err != nil
}

// duplicates are networks that forward in each way, each with three workloads,
// which may all have one address of each family besides.
func duplicates(m [2]*machine, networks map[uint32]*hoststream.Vrf) {
	rows := [2]map[string]*hoststream.Row{{}, {}}
	for vrf, does := range networks {
		for i, all := range network(vrf, tunnels4) {
			v := all[desired.VRFRow(vrf)].GetVrf()
			v.Forwarding, v.Flooding = does.Forwarding, does.Flooding
			for key, row := range all {
				if p := row.GetPort(); p != nil {
					for _, a := range ips(77) {
						p.Pairs = append(p.Pairs, &hoststream.AllowedPair{Range: &hoststream.Prefix{Address: a.AsSlice(), Length: uint32(a.BitLen())}, Mac: p.Mac})
					}
				}
				rows[i][key] = row
			}
		}
	}
	for i := range m {
		m[i].controller.set(rows[i])
		m[i].controller.settled()
	}
}

// A workload that configures what another one of its network has is told so, by
// its own kernel, wherever the other one is and whatever its network does with
// frames; nobody is told so of an address that is free, of its own, or of one
// that several may have. The one that has the address keeps it.
func TestDuplicateAddress(t *testing.T) {
	networks := map[uint32]*hoststream.Vrf{
		100: {Forwarding: api.ForwardingPackets}, 200: {Forwarding: api.ForwardingBoth},
		300: {Forwarding: api.ForwardingBoth, Flooding: true}, 400: {Forwarding: api.ForwardingFrames, Flooding: true},
	}
	m := twoHosts(t, tunnels4)
	for i := range m {
		m[i].start(tunnels4[i])
		m[i].agent.waitReady(t)
	}
	duplicates(m, networks)
	for vrf, does := range networks {
		t.Run(fmt.Sprintf("%s flooding %t", does.Forwarding, does.Flooding), func(t *testing.T) {
			w := map[int]string{}
			for n, at := range placed {
				w[n] = namespace(t, fmt.Sprintf("w%d-%d", vrf, n))
				m[at].mustPlug(portID(vrf, n), w[n])
			}
			reaches(t, w[10], "fd00:a::11")
			inside(t, w[12], func() error { // it has what all may have
				l, err := netlink.LinkByName("eth0")
				if err != nil {
					return err
				}
				return netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: ips(77)[1].AsSlice(), Mask: net.CIDRMask(128, 128)}, Flags: syscall.IFA_F_NODAD})
			})
			findDuplicates(t, w[10])
			for _, n := range []int{11, 12} { // they have not heard of it
				reaches(t, w[10], ips(n)[0].String())
			}
		})
	}
	for i := range m {
		m[i].agent.stop(t, syscall.SIGTERM)
		m[i].uninstall([]string{"lo", "u0"})
	}
}

// findDuplicates looks from workload 10.
func findDuplicates(t *testing.T, ns string) {
	t.Helper()
	takeAway(t, ns, "fd00:a::10/64") // its own, which it configures anew
	four := sync.WaitGroup{}
	for address, want := range map[string]bool{"10.0.0.12": true, "10.0.0.11": true, "10.0.0.99": false, "10.0.0.77": false, "10.0.0.10": false} {
		four.Go(func() {
			if got := detect4(t, ns, address); got != want {
				t.Errorf("%s is found to be a duplicate: %t, want %t", address, got, want)
			}
		})
	}
	failed := detect(t, ns, "fd00:a::12", "fd00:a::11", "fd00:a::99", "fd00:a::77", "fd00:a::10")
	for address, want := range map[string]bool{
		"fd00:a::12": true, "fd00:a::11": true, // of a neighbour here, and elsewhere
		"fd00:a::99": false, "fd00:a::77": false, "fd00:a::10": false,
	} {
		if failed[address] != want {
			t.Errorf("%s is found to be a duplicate: %t, want %t", address, failed[address], want)
		}
	}
	four.Wait()
}
