// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
)

// chaosEnvironment tells a process of this test binary what to be: a JSON
// chaosRole.
const chaosEnvironment = "WEFT_CONTROLLER_CHAOS_ROLE"

// chaosRole is a member of etcd, or a controller with its command line.
type chaosRole struct {
	Arguments                             []string
	Disk                                  string // the file of slowSyncs
	Name, Dir, Client, Peer, Via, Cluster string
}

// TestChaosRole is no test: it is the main function of the processes that
// TestControllerChaos starts, and returns at once when it is not one of them.
func TestChaosRole(t *testing.T) {
	text := os.Getenv(chaosEnvironment)
	if text == "" {
		return
	}
	var r chaosRole
	err := json.Unmarshal([]byte(text), &r)
	if err == nil && r.Disk != "" {
		err = slowSyncs(r.Disk)
	}
	if err == nil && r.Name != "" {
		err = r.member()
	} else if err == nil {
		go func() { // a controller whose test has died must not stay
			io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		c := command()
		c.SetArgs(r.Arguments)
		err = c.ExecuteContext(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// member runs a member of etcd until standard input ends.
func (r chaosRole) member() error {
	parse := func(text string) []url.URL {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		return []url.URL{*u}
	}
	c := embed.NewConfig()
	c.Name, c.Dir, c.LogLevel, c.InitialCluster = r.Name, r.Dir, "fatal", r.Cluster
	c.ListenClientUrls, c.AdvertiseClientUrls = parse(r.Client), parse(r.Client)
	c.ListenPeerUrls, c.AdvertisePeerUrls = parse(r.Peer), parse(r.Via)
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	return <-e.Err()
}

// chaosChild is a process that is killed and started again.
type chaosChild struct {
	name string
	role chaosRole

	// mu guards everything that follows.
	mu      sync.Mutex
	command *exec.Cmd // nil when it does not run
	in      io.Closer
	said    strings.Builder
}

// start runs the process if it does not run.
func (c *chaosChild) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.command != nil {
		return nil
	}
	role, err := json.Marshal(c.role)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	p := exec.Command(program, "-test.run=^TestChaosRole$")
	p.Env = append(os.Environ(), chaosEnvironment+"="+string(role))
	c.said.Reset()
	p.Stderr = &c.said
	if c.in, err = p.StdinPipe(); err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	c.command = p
	go func() { // ends with the process
		p.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.command = nil
	}()
	return nil
}

func (c *chaosChild) signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.command != nil {
		c.command.Process.Signal(s)
	}
}

func (c *chaosChild) runs() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.command != nil
}

// way is a listener through which one process reaches another, and which can
// be cut (connections are closed and refused) or silenced (nothing arrives).
type way struct {
	listener net.Listener
	target   string

	// mu guards everything that follows.
	mu          sync.Mutex
	cut, silent bool
	changed     chan struct{}
	open        map[net.Conn]bool
}

func newWay(t *testing.T, target string) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	w := &way{listener: l, target: target, changed: make(chan struct{}), open: map[net.Conn]bool{}}
	go w.serve()
	t.Cleanup(func() { l.Close(); w.set(true, false) })
	return w
}

func (w *way) set(cut, silent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut, w.silent = cut, silent
	close(w.changed)
	w.changed = make(chan struct{})
	for c := range w.open {
		if cut {
			c.Close()
		}
	}
}

func (w *way) serve() {
	for {
		in, err := w.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", w.target)
		if err != nil {
			in.Close()
			continue
		}
		w.mu.Lock()
		if w.cut {
			in.Close()
			out.Close()
		} else {
			w.open[in], w.open[out] = true, true
			go w.copy(in, out)
			go w.copy(out, in)
		}
		w.mu.Unlock()
	}
}

// copy moves data one way until either end closes.
func (w *way) copy(from, to net.Conn) {
	defer func() {
		from.Close()
		to.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.open, from)
		delete(w.open, to)
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil || !w.passes() {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// passes waits while the way is silent and tells whether data may go on.
func (w *way) passes() bool {
	for {
		w.mu.Lock()
		cut, silent, changed := w.cut, w.silent, w.changed
		w.mu.Unlock()
		if cut || !silent {
			return !cut
		}
		<-changed
	}
}
