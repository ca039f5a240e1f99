// SPDX-License-Identifier: Apache-2.0

// Package process finds and ends programs that an agent started and that outlive it. Whose
// a process is follows from its command line; nothing without that mark is ended.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Mark tells whose a process is by its command line, whose words end with zero bytes; empty:
// nobody's, or that of one that ends.
type Mark func(line []byte) string

const (
	stopTime = 5 * time.Second       // for a process to end by itself
	again    = 20 * time.Millisecond // between two looks
)

// All are the processes with the mark, by whose they are.
func (m Mark) All() (map[string][]int, error) {
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
		if id := m.of(pid); id != "" {
			all[id] = append(all[id], pid)
		}
	}
	return all, nil
}

func (m Mark) of(pid int) string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return m(line)
}

// Inside runs f on a thread in a network namespace.
func Inside(namespace string, f func() error) error {
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

// Stop ends processes, and waits until they are gone. They are asked first: one that is ended by
// force may leave its children.
func (m Mark) Stop(ctx context.Context, id string, pids []int) error {
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		for _, pid := range pids {
			if err := m.Signal(id, pid, signal); err != nil {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
		}
		for end := time.Now().Add(stopTime); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(again) {
			if !AnyLeft(pids) {
				return nil
			}
		}
	}
	if AnyLeft(pids) {
		return fmt.Errorf("processes %v do not end", pids)
	}
	return nil
}

// Signal sends a signal to a process if it still is id's: its number may have become another
// one's.
func (m Mark) Signal(id string, pid int, signal unix.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if m.of(pid) != id {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return nil
}

// AnyLeft tells whether one of the processes is there and has not ended.
func AnyLeft(pids []int) bool {
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if i := bytes.LastIndexByte(stat, ')'); err == nil && i >= 0 && i+2 < len(stat) && stat[i+2] != 'Z' {
			return true
		}
	}
	return false
}
