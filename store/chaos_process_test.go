// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/store/external"
)

// chaosEnvironment tells a process of this test binary what it is: a JSON
// chaosRole.
const chaosEnvironment = "WEFT_CHAOS_ROLE"

// chaosRole is a member of etcd or a controller.
type chaosRole struct {
	Member    bool
	Name      string
	Dir       string
	Client    string // where a member listens for clients
	Peer      string // where it listens for other members
	Advertise string // where those reach it
	Cluster   string
	Endpoints []string // of a controller
}

// chaosRequest is what a controller is asked, one JSON object a line.
type chaosRequest struct {
	ID   int
	By   api.Identity
	Ops  []chaosOp // commit these, or else
	Kind api.Kind  // read the object of this kind, or without one read all
	Name string
}

type chaosOp struct {
	Op     string
	Object json.RawMessage
}

// chaosReply is the answer. Code is "" when it was done.
type chaosReply struct {
	ID       int
	Code     api.Code
	Message  string
	Revision int64
	Objects  []json.RawMessage
}

// TestChaosProcess is no test: it is the main function of the processes that
// TestChaos starts, and returns at once when it is not one of them.
func TestChaosProcess(t *testing.T) {
	text := os.Getenv(chaosEnvironment)
	if text == "" {
		return
	}
	var role chaosRole
	err := json.Unmarshal([]byte(text), &role)
	if err == nil && role.Member {
		err = role.member()
	} else if err == nil {
		err = role.controller()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role.Name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// member runs one member of etcd until standard input ends.
func (r chaosRole) member() error {
	parse := func(text string) []url.URL {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		return []url.URL{*u}
	}
	c := embed.NewConfig()
	c.Name, c.Dir, c.LogLevel = r.Name, r.Dir, "fatal"
	c.ListenClientUrls, c.AdvertiseClientUrls = parse(r.Client), parse(r.Client)
	c.ListenPeerUrls, c.AdvertisePeerUrls = parse(r.Peer), parse(r.Advertise)
	c.InitialCluster = r.Cluster
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

// controller answers requests on standard input until it ends.
func (r chaosRole) controller() error {
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	etcd, err := external.Connect(ctx, external.Config{Endpoints: r.Endpoints}, log)
	if err != nil {
		return err
	}
	s, err := Open(ctx, etcd.Client(), Options{MaxTxnOps: etcd.MaxTxnOps(), Log: log})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	reply := func(a chaosReply) {
		mu.Lock()
		defer mu.Unlock()
		if err := out.Encode(a); err != nil {
			os.Exit(1)
		}
	}
	reply(chaosReply{}) // ready
	for in := json.NewDecoder(os.Stdin); ; {
		var q chaosRequest
		if err := in.Decode(&q); err != nil {
			return nil
		}
		go func() { reply(chaosAnswer(ctx, s, q)) }()
	}
}

func chaosAnswer(ctx context.Context, s *Store, q chaosRequest) chaosReply {
	a := chaosReply{ID: q.ID}
	fail := func(err error) chaosReply {
		var e *api.Error
		if !errors.As(err, &e) {
			e = api.Errorf(api.CodeInternal, "%v", err)
		}
		a.Code, a.Message = e.Code, e.Error()
		return a
	}
	if len(q.Ops) > 0 {
		var ops []api.Operation
		for _, op := range q.Ops {
			o, err := api.Decode(op.Object, true)
			if err != nil {
				return fail(err)
			}
			ops = append(ops, api.Operation{Op: op.Op, Object: o})
		}
		result, err := s.Commit(ctx, q.By, ops, CommitOptions{})
		if err != nil {
			return fail(err)
		}
		a.Revision = result.Revision
		for _, o := range result.Objects {
			a.Objects = append(a.Objects, mustJSON(o))
		}
		return a
	}
	snapshot, err := s.Snapshot(ctx, 0)
	if err != nil {
		return fail(err)
	}
	a.Revision = snapshot.Revision()
	if q.Kind != "" {
		if o := snapshot.Lookup(q.Kind, api.Ref{Name: q.Name}); o != nil {
			a.Objects = append(a.Objects, mustJSON(o))
		}
		return a
	}
	for _, info := range api.Kinds() {
		for _, o := range snapshot.List(info.Kind) {
			a.Objects = append(a.Objects, mustJSON(o))
		}
	}
	return a
}

// chaosChild is a process that is killed and started again.
type chaosChild struct {
	role chaosRole

	// mu guards everything that follows.
	mu      sync.Mutex
	command *exec.Cmd // nil when it does not run
	in      *json.Encoder
	pending map[int]chan chaosReply
	last    int
	ready   bool
}

// start runs the process. A controller that cannot start ends; ask again.
func (c *chaosChild) start() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.command != nil {
		return nil
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command(program, "-test.run=^TestChaosProcess$")
	command.Env = append(os.Environ(), chaosEnvironment+"="+string(mustJSON(c.role)))
	in, err := command.StdinPipe()
	if err != nil {
		return err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	c.command, c.in, c.pending, c.ready = command, json.NewEncoder(in), map[int]chan chaosReply{}, c.role.Member
	go c.read(command, out)
	return nil
}

// read delivers replies until the process ends. Requests without one by then
// are answered by a closed channel.
func (c *chaosChild) read(command *exec.Cmd, out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var a chaosReply
		if json.Unmarshal(lines.Bytes(), &a) != nil {
			continue
		}
		c.mu.Lock()
		if a.ID == 0 {
			c.ready = true
		}
		if w := c.pending[a.ID]; w != nil {
			delete(c.pending, a.ID)
			w <- a
		}
		c.mu.Unlock()
	}
	command.Wait() // killed, or ended by itself; either way it is started again
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.pending {
		close(w)
	}
	c.command, c.pending, c.ready = nil, nil, false
}

func (c *chaosChild) signal(s syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.command != nil {
		c.command.Process.Signal(s)
	}
}

func (c *chaosChild) serves() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready
}

// ask sends a request and waits. sent says whether it has left, answered
// whether a reply came: what left without a reply may have been done.
func (c *chaosChild) ask(q chaosRequest) (a chaosReply, sent, answered bool) {
	c.mu.Lock()
	if !c.ready {
		c.mu.Unlock()
		return a, false, false
	}
	c.last++
	q.ID = c.last
	w := make(chan chaosReply, 1)
	c.pending[q.ID] = w
	if err := c.in.Encode(q); err != nil {
		delete(c.pending, q.ID)
		c.mu.Unlock()
		return a, true, false // a part of it may have left
	}
	c.mu.Unlock()
	timer := time.NewTimer(time.Minute) // a commit is bounded by 30 s; a paused process answers later
	defer timer.Stop()
	select {
	case a, answered = <-w:
	case <-timer.C:
	}
	return a, true, answered
}
