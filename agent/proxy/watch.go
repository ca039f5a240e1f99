// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/process"
)

// speaker has keepalived agree with the other one of a pair who has the addresses. What is below
// its root is ours, and so is a process whose configuration is there: it outlives whoever started it.
type speaker struct{ root, program string } // program empty: whatever it is

const (
	speakerFile = "keepalived.conf"
	aliveFile   = "alive.sh"
)

// mark tells the load-balancer that a process speaks for.
func (s speaker) mark(line []byte) string {
	if s.program != "" && !bytes.HasPrefix(line, []byte(s.program+"\x00")) {
		return ""
	}
	_, rest, found := bytes.Cut(line, []byte("\x00-f\x00"+s.root+"/"))
	name, file, _ := bytes.Cut(rest, []byte("/"))
	if !found || !bytes.HasPrefix(file, []byte(speakerFile+"\x00")) {
		return ""
	}
	return string(name)
}

// running are the processes with our mark, by load-balancer.
func (s speaker) running() (map[string][]int, error) { return process.Mark(s.mark).All() }

// ensure has a process run with what a proxy's row says, where these do; dir is where the proxy's
// own files are.
func (s speaker) ensure(p *desired.Proxy, pids []int, namespace, dir string) error {
	at := filepath.Join(s.root, p.Balancer)
	if err := os.MkdirAll(at, 0o700); err != nil {
		return fmt.Errorf("make the directory of keepalived: %w", err)
	}
	alive := filepath.Join(at, aliveFile)
	if _, err := replace(alive, aliveScript(dir)); err != nil {
		return err
	}
	changed, err := replace(filepath.Join(at, speakerFile), vrrpConfig(p, alive))
	if err != nil {
		return err
	}
	switch {
	case len(pids) == 0:
		return s.start(at, namespace)
	case changed: // the first is the one that started the other
		return process.Mark(s.mark).Signal(p.Balancer, slices.Min(pids), unix.SIGHUP)
	}
	return nil
}

func (s speaker) start(at, namespace string) error {
	c := exec.Command(s.program, "--dont-fork", "--vrrp", "-p", filepath.Join(at, "pid"), "-r", filepath.Join(at, "vrrp.pid"), "-f", filepath.Join(at, speakerFile))
	c.Dir, c.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} // nothing of ours
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := process.Inside(namespace, c.Start); err != nil {
		return fmt.Errorf("start %s: %w", s.program, err)
	}
	go c.Wait() // how it ended is in the system's log
	return nil
}

// stop ends what speaks for a load-balancer. That nothing does is success.
func (s speaker) stop(ctx context.Context, balancer string) error {
	all, err := s.running()
	if err != nil {
		return err
	}
	if err := process.Mark(s.mark).Stop(ctx, balancer, all[balancer]); err != nil {
		return fmt.Errorf("end keepalived: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(s.root, balancer)); err != nil {
		return fmt.Errorf("remove the files of keepalived: %w", err)
	}
	return nil
}

// replace makes a file have a content, and tells whether it had another one.
func replace(name, text string) (changed bool, err error) {
	if had, err := os.ReadFile(name); err == nil && string(had) == text {
		return false, nil
	}
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		return false, fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return false, fmt.Errorf("replace %s: %w", name, err)
	}
	return true, nil
}
