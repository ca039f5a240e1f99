// SPDX-License-Identifier: Apache-2.0

// Package namespace runs things inside named network namespaces.
//
// Only the network namespace changes, never the mounts: `ip netns exec` mounts
// a new /sys over the old one and so hides cgroups and every bpffs below it.
package namespace

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// folder is where named namespaces live by the convention of iproute2.
const folder = "/run/netns"

// Path returns the file that pins a namespace.
func Path(name string) string { return filepath.Join(folder, name) }

// Create makes a namespace with a loopback that is up.
func Create(name string) error {
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return fmt.Errorf("create network namespace %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	h, err := Netlink(name)
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback of namespace %s: %w", name, err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set loopback of namespace %s up: %w", name, err)
	}
	return nil
}

// Delete removes a namespace's name. One that does not exist is no error.
func Delete(name string) error {
	if _, err := os.Lstat(Path(name)); os.IsNotExist(err) {
		return nil
	}
	if err := unix.Unmount(Path(name), unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		return fmt.Errorf("unmount network namespace %s: %w", name, err)
	}
	if err := os.Remove(Path(name)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("delete network namespace %s: %w", name, err)
	}
	return nil
}

// List returns the names that begin with prefix, sorted.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Do runs f on a thread that is in the namespace. What f opens or starts stays
// there; goroutines that f starts do not. An empty name is the caller's own.
func Do(name string, f func() error) error {
	if name == "" {
		return f()
	}
	to, err := netns.GetFromPath(Path(name))
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", name, err)
	}
	defer to.Close()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own network namespace: %w", err)
	}
	defer home.Close()
	if err := netns.Set(to); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s (root is needed): %w", name, err)
	}
	err = f()
	if back := netns.Set(home); back != nil {
		// The thread stays locked and ends with its goroutine, so that
		// nothing else ever runs in the wrong namespace.
		return fmt.Errorf("leave network namespace %s: %w", name, back)
	}
	runtime.UnlockOSThread()
	return err
}

// Start starts a command inside the namespace.
func Start(name string, cmd *exec.Cmd) error { return Do(name, cmd.Start) }

// Run runs a command inside the namespace and returns all it printed.
func Run(name string, argv ...string) (string, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := Start(name, cmd); err != nil {
		return "", fmt.Errorf("run %s in %s: %w", strings.Join(argv, " "), name, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("run %s in %s: %w: %s", strings.Join(argv, " "), name, err, strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}

// Netlink returns a handle that configures the namespace. The caller closes it.
func Netlink(name string) (*netlink.Handle, error) {
	if name == "" {
		return netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	ns, err := netns.GetFromPath(Path(name))
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", name, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink in network namespace %s: %w", name, err)
	}
	return h, nil
}

// Sysctl sets a value below /proc/sys/net, which every namespace has its own of.
func Sysctl(name, key, value string) error {
	return Do(name, func() error {
		if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set net/%s to %s in namespace %s: %w", key, value, name, err)
		}
		return nil
	})
}

// Holders returns the processes that are inside the namespace.
func Holders(name string) ([]int, error) {
	out, err := exec.Command("ip", "netns", "pids", name).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("list processes of network namespace %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	var pids []int
	for _, f := range strings.Fields(string(out)) {
		var pid int
		if _, err := fmt.Sscan(f, &pid); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
