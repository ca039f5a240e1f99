// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const logFile = "log"

// processes are those with our mark, masters and workers, by load-balancer.
func (r *Runner) processes() (map[string][]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := map[string][]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if id := r.marked(pid); id != "" {
			all[id] = append(all[id], pid)
		}
	}
	return all, nil
}

// marked is the load-balancer that a process serves; empty: it is not ours, or is one that ends.
func (r *Runner) marked(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.HasPrefix(line, []byte(r.program+"\x00")) {
		return ""
	}
	_, rest, found := bytes.Cut(line, []byte("\x00-f\x00"+r.root+"/"))
	name, file, _ := bytes.Cut(rest, []byte("/"))
	if !found || !uuid.Match(name) || !bytes.HasPrefix(file, []byte(ConfigFile+"\x00")) {
		return ""
	}
	return string(name)
}

// start starts a master with its worker in a network namespace, in a session of its own, and waits
// until it serves.
func (r *Runner) start(ctx context.Context, at Place, namespace string) error {
	out, err := os.OpenFile(filepath.Join(at.Dir, logFile), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("make a proxy's log: %w", err)
	}
	defer out.Close()
	c := exec.Command(r.program, "-W", "-S", filepath.Join(at.Dir, masterSocket)+",mode,600", "-f", filepath.Join(at.Dir, ConfigFile))
	c.Dir, c.Stdout, c.Stderr = "/", out, out
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"} // nothing of ours
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := inside(namespace, c.Start); err != nil {
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

// inside runs f on a thread in a network namespace.
func inside(namespace string, f func() error) error {
	to, err := netns.GetFromPath(namespace)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", namespace, err)
	}
	defer to.Close()
	done := make(chan error)
	go func() {
		// The thread stays locked and ends with its goroutine: nothing else ever runs on it.
		runtime.LockOSThread()
		if err := netns.Set(to); err != nil {
			done <- fmt.Errorf("enter network namespace %s (root is needed): %w", namespace, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// stop ends processes of a load-balancer, and waits until they are gone. They are asked first: a
// master that is ended by force leaves its workers.
func (r *Runner) stop(ctx context.Context, id string, pids []int) error {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		for _, pid := range pids {
			if err := r.signal(id, pid, signal); err != nil {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
		}
		for end := time.Now().Add(stopTime); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(again) {
			if !anyLeft(pids) {
				return nil
			}
		}
	}
	if anyLeft(pids) {
		return fmt.Errorf("processes %v do not end", pids)
	}
	return nil
}

// signal sends a signal to a process if it still is the load-balancer's: its number may have become
// another one's.
func (r *Runner) signal(id string, pid int, signal unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if r.marked(pid) != id {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// anyLeft tells whether one of the processes is there and has not ended.
func anyLeft(pids []int) bool {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if i := bytes.LastIndexByte(stat, ')'); err == nil && i >= 0 && i+2 < len(stat) && stat[i+2] != 'Z' {
			return true
		}
	}
	return false
}
