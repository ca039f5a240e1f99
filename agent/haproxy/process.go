// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weft-network/weft/agent/process"
)

const logFile = "log"

// PIDFile has the number of the master's process, in the directory of a proxy.
const PIDFile = "pid"

// mark tells the load-balancer that a process serves.
func (r *Runner) mark(line []byte) string {
	if !bytes.HasPrefix(line, []byte(r.program+"\x00")) {
		return ""
	}
	_, rest, found := bytes.Cut(line, []byte("\x00-f\x00"+r.root+"/"))
	name, file, _ := bytes.Cut(rest, []byte("/"))
	if !found || !uuid.Match(name) || !bytes.HasPrefix(file, []byte(ConfigFile+"\x00")) {
		return ""
	}
	return string(name)
}

// processes are those with our mark, masters and workers, by load-balancer.
func (r *Runner) processes() (map[string][]int, error) { return process.Mark(r.mark).All() }

// stop ends processes of a load-balancer.
func (r *Runner) stop(ctx context.Context, id string, pids []int) error {
	return process.Mark(r.mark).Stop(ctx, id, pids)
}

// start starts a master with its worker in a network namespace, in a session of its own, and waits
// until it serves.
func (r *Runner) start(ctx context.Context, at Place, namespace string) error {
	out, err := os.OpenFile(filepath.Join(at.Dir, logFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("make a proxy's log: %w", err)
	}
	defer out.Close()
	c := exec.Command(r.program, "-W", "-S", filepath.Join(at.Dir, masterSocket)+",mode,600", "-p", filepath.Join(at.Dir, PIDFile), "-f", filepath.Join(at.Dir, ConfigFile))
	c.Dir, c.Stdout, c.Stderr = "/", out, out
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} // nothing of ours
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := process.Inside(namespace, c.Start); err != nil {
		return fmt.Errorf("start %s: %w", r.program, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	deadline := time.Now().Add(startTime)
	for {
		select {
		case err := <-ended:
			said, _ := os.ReadFile(out.Name())
			return fmt.Errorf("start %s: it ended (%w): %s", r.program, err, shortened(string(said)))
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w", r.program, ctx.Err())
		case <-time.After(again):
		}
		if p, err := procs(ctx, at); err == nil && p.workers > 0 && answers(ctx, at) {
			return nil
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(out.Name())
			return fmt.Errorf("start %s: it does not serve after %v: %s", r.program, startTime, shortened(string(said)))
		}
	}
}
