// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weft-network/weft/api/client"
)

const (
	// readyTimeout bounds the start of a controller, also with much to read.
	readyTimeout = 2 * time.Minute
	// stopTimeout is how long a controller may take to end after SIGTERM.
	stopTimeout = 20 * time.Second
)

// Controller is a weft-controller in a process of its own, on loopback.
type Controller struct {
	program, dir string
	api, stream  net.Listener // kept open, so that a restart has the same ports
	process      *exec.Cmd
	ended        chan struct{}
}

// NewController prepares a controller that keeps its data in a directory.
func NewController(program, dir string) (*Controller, error) {
	c := &Controller{program: program, dir: dir}
	for _, l := range []*net.Listener{&c.api, &c.stream} {
		var err error
		if *l, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			c.Close()
			return nil, fmt.Errorf("listen for the controller: %w", err)
		}
	}
	return c, nil
}

// Start starts the process and returns when it serves.
func (c *Controller) Start(ctx context.Context) error {
	log, err := os.OpenFile(c.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start the controller: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(c.program, "--data-dir", filepath.Join(c.dir, "data"), "--api-listen", "fd:3", "--stream-listen", "fd:4",
		"--stream-advertise", c.stream.Addr().String(), "--advertise", "127.0.0.1", "--log-level", "warn")
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	for _, l := range []net.Listener{c.api, c.stream} {
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			return fmt.Errorf("pass a socket to the controller: %w", err)
		}
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("start the controller: %w", err)
	}
	c.process, c.ended = cmd, make(chan struct{})
	ready, ended := make(chan struct{}), c.ended
	go func() { // ends with the process, which Stop ends
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == "ready" {
				close(ready)
			}
		}
		cmd.Wait() // how it ended is in its log
	}()
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	select {
	case <-ready:
		return nil
	case <-ended:
		err = fmt.Errorf("the controller ended before it was ready, see %s", c.Log())
	case <-ctx.Done():
		err = fmt.Errorf("the controller is not ready, see %s: %w", c.Log(), ctx.Err())
	}
	c.Stop()
	return err
}

// Stop ends the process.
func (c *Controller) Stop() {
	if c.process == nil {
		return
	}
	c.process.Process.Signal(syscall.SIGTERM) // fails if it has ended
	select {
	case <-c.ended:
	case <-time.After(stopTimeout):
		c.process.Process.Kill()
		<-c.ended
	}
	c.process = nil
}

// Close ends the process and frees the ports.
func (c *Controller) Close() {
	c.Stop()
	for _, l := range []net.Listener{c.api, c.stream} {
		if l != nil {
			l.Close()
		}
	}
}

// Log is the file with what the process says.
func (c *Controller) Log() string { return filepath.Join(c.dir, "controller.log") }

// Client returns an administrator's client of the API. The caller closes it.
func (c *Controller) Client() (*client.Client, error) {
	data, err := os.ReadFile(filepath.Join(c.dir, "data", "admin.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read the configuration the controller made: %w", err)
	}
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "server:") {
			lines[i] = "server: https://" + c.api.Addr().String()
		}
	}
	config, err := client.ParseConfig([]byte(strings.Join(lines, "\n")))
	if err != nil {
		return nil, err
	}
	return client.New(config)
}

// Memory returns the bytes the process has resident, now and at most so far.
func (c *Controller) Memory() (now, peak int64) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.process.Process.Pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(data)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			now = kib << 10
		}
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			peak = kib << 10
		}
	}
	return now, peak
}
