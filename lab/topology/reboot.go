// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
)

// AgentBuild is an agent other than the run's own: another program (empty: the
// run's), further arguments, or both.
type AgentBuild struct {
	Program   string
	Arguments []string
}

// UseAgent has the n-th host's agent started as this build from its next start on.
func (l *Lab) UseAgent(n int, b AgentBuild) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.builds == nil {
		l.builds = map[int]AgentBuild{}
	}
	l.builds[n] = b
}

// agentBuild returns what the n-th host's agent is started as.
func (l *Lab) agentBuild(n int) AgentBuild {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.builds[n]
	if b.Program == "" {
		b.Program = l.program("weft-agent")
	}
	return b
}

// Reboot leaves of the n-th host what a reboot leaves, which is its files: the
// agent, if it runs, is killed; interfaces, programs, tables and mounts go; the
// host's link to the underlay is made anew. Namespaces of its workloads stay
// and are empty, as after they were made again. The agent is not started.
func (l *Lab) Reboot(n int) error {
	name := HostName(n)
	if p, err := l.Process(name); err == nil && p.Alive() {
		if err := l.Kill(name); err != nil {
			return err
		}
	}
	mounts, err := mountsBelow(l.hostDir(n, ""))
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if err := unix.Unmount(m, 0); err != nil {
			return fmt.Errorf("reboot %s: unmount %s: %w", name, m, err)
		}
	}
	if err := cut(l.Namespace("underlay"), name); err != nil {
		return fmt.Errorf("reboot %s: %w", name, err)
	}
	// The kernel would remove them too, but some time after the namespace.
	links, err := namespace.Links(l.Namespace(name))
	if err != nil {
		return fmt.Errorf("reboot %s: %w", name, err)
	}
	for _, link := range links {
		if link == "lo" {
			continue
		}
		if err := cut(l.Namespace(name), link); err != nil {
			return fmt.Errorf("reboot %s: %w", name, err)
		}
	}
	if err := namespace.Delete(l.Namespace(name)); err != nil {
		return fmt.Errorf("reboot %s: %w", name, err)
	}
	if err := l.wire(name, firstHostIndex+n-1); err != nil {
		return fmt.Errorf("reboot %s: %w", name, err)
	}
	return namespace.WaitUp(l.Namespace("underlay"), name)
}

// cut removes an interface; one that has gone with its other end is no error.
func cut(ns, link string) error {
	h, err := namespace.Netlink(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	found, err := h.LinkByName(link)
	if _, gone := err.(netlink.LinkNotFoundError); gone {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", link, ns, err)
	}
	if err := h.LinkDel(found); err != nil {
		return fmt.Errorf("remove %s in %s: %w", link, ns, err)
	}
	return nil
}
