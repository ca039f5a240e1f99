// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ensureRoom makes a network namespace at a path, with a loopback that is up. One that is there
// stays as it is.
func ensureRoom(path string) error {
	if isRoom(path) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the directory of proxies' network namespaces: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o400)
	if err != nil {
		return fmt.Errorf("make a file for a network namespace: %w", err)
	}
	f.Close()
	made := make(chan error)
	go func() {
		// The thread stays locked and ends with its goroutine: nothing else ever runs on it.
		runtime.LockOSThread()
		made <- makeRoom(path)
	}()
	return <-made
}

// makeRoom moves this thread into a new network namespace, and pins that.
func makeRoom(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace (root is needed): %w", err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("keep a network namespace at %s: %w", path, err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("set the loopback of a proxy up: %w", err)
	}
	return nil
}

func isRoom(path string) bool {
	var s unix.Statfs_t
	return unix.Statfs(path, &s) == nil && s.Type == unix.NSFS_MAGIC
}

// removeRoom takes a network namespace's path away. That there is none is success.
func removeRoom(path string) error {
	for isRoom(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("let go of network namespace %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove network namespace %s: %w", path, err)
	}
	return nil
}

// hasAny tells whether a namespace has one of the addresses.
func hasAny(path string, addresses []netip.Addr) (bool, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return false, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return false, fmt.Errorf("look into network namespace %s: %w", path, err)
	}
	defer h.Close()
	have, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return false, fmt.Errorf("list addresses in network namespace %s: %w", path, err)
	}
	for _, a := range have {
		ip, _ := netip.AddrFromSlice(a.IP)
		for _, wanted := range addresses {
			if ip.Unmap() == wanted {
				return true, nil
			}
		}
	}
	return false, nil
}
