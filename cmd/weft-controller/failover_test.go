// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/stream"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/api/hoststream"
)

// asController in the environment makes the test program be the controller: a
// process of its own, which can be killed and stopped.
const asController = "WEFT_TEST_AS_CONTROLLER"

func TestMain(m *testing.M) {
	if os.Getenv(asController) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// cluster is several controller processes on one etcd.
type cluster struct {
	t         *testing.T
	etcd      string
	dirs      []string
	addresses []string // of streams
	apis      []string
	processes []*exec.Cmd
}

func newCluster(t *testing.T, n int) *cluster {
	c := &cluster{t: t, etcd: etcdMember(t), processes: make([]*exec.Cmd, n)}
	t.Cleanup(func() {
		for i := range c.processes {
			c.kill(i)
		}
	})
	for i := range n {
		c.dirs, c.addresses, c.apis = append(c.dirs, t.TempDir()), append(c.addresses, freePort(t)), append(c.apis, freePort(t))
		if i > 0 {
			check(t, os.CopyFS(filepath.Join(c.dirs[i], "pki"), os.DirFS(filepath.Join(c.dirs[0], "pki"))))
			check(t, os.RemoveAll(filepath.Join(c.dirs[i], "pki", "server.pem")))
		}
		c.start(i)
		c.admin(i).Close()
	}
	return c
}

// freePort is an address on loopback that nobody listens at now.
func freePort(t *testing.T) string {
	l, err := listen("127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

func (c *cluster) start(i int) {
	path, err := os.Executable()
	check(c.t, err)
	p := exec.Command(path, "--data-dir", c.dirs[i], "--etcd-endpoints", c.etcd, "--api-listen", c.apis[i], "--stream-listen", c.addresses[i])
	p.Env = append(os.Environ(), asController+"=1")
	log, err := os.OpenFile(filepath.Join(c.dirs[i], "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	check(c.t, err)
	defer log.Close()
	p.Stderr = log
	check(c.t, p.Start())
	c.processes[i] = p
}

// kill ends a controller that runs, or hangs, with kill -9.
func (c *cluster) kill(i int) {
	if p := c.processes[i]; p != nil {
		_ = p.Process.Kill()
		_ = p.Wait()
		c.processes[i] = nil
	}
}

func (c *cluster) admin(i int) *client.Client {
	c.t.Helper()
	return (&process{t: c.t, dir: c.dirs[i]}).admin()
}

// agent is a host with the agent's real stream, whose kernel is in memory.
type agent struct {
	name string
	uuid string
	loop *host.Loop
}

// still is a credential that never changes.
type still struct{ *tls.Config }

func (s still) TLS(server string) (*tls.Config, error) {
	config := s.Config.Clone()
	config.ServerName = server
	return config, nil
}

func (still) Tend(context.Context, hoststream.HostStreamClient) (bool, error) { return false, nil }

// startAgent joins a host and runs its stream until the test ends. It knows
// one controller.
func startAgent(t *testing.T, admin *client.Client, name, tunnel, address string) *agent {
	end := joinAt(t, admin, name, tunnel)
	end.config.MinVersion = tls.VersionTLS13
	o, err := admin.Get(t.Context(), api.KindHost, api.Ref{Name: name})
	check(t, err)
	log := slog.New(slog.DiscardHandler)
	p := datapath.NewProgrammer(datapath.NewMemoryKernel(nil).Kernel())
	core := host.NewCore(desired.New(), datapath.Underlay{IPv4: netip.MustParseAddr("192.0.2.1"), MTU: 1500}, datapath.Local{}, p)
	core.Start()
	a := &agent{name, o.Head().Meta.UUID, host.NewLoop(core, func([]byte) error { return nil }, log)}
	ctx, cancel := context.WithCancel(t.Context())
	s := stream.New(stream.Options{Addresses: []string{address}, Credential: still{end.config}, AgentVersion: "test", Beat: 200 * time.Millisecond},
		a.loop, func(context.Context, string) (api.Table, error) { return api.Table{Columns: []string{name}}, nil }, log)
	var work sync.WaitGroup
	work.Go(func() { a.loop.Run(ctx) })
	work.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); work.Wait() })
	return a
}

// ports counts the ports that the host has been given.
func (a *agent) ports(t *testing.T) (n int) {
	check(t, a.loop.Do(t.Context(), func(c *host.Core) { n = len(c.Rows().Ports) }))
	return n
}

func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.After(40 * time.Second)
	for every := time.Tick(20 * time.Millisecond); ; {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-every:
		case <-deadline:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// status waits until the host's object says that it is connected, with one
// controller in use and, where wanted, another in reserve.
func (a *agent) status(t *testing.T, c *client.Client, warm bool) *api.HostStatus {
	t.Helper()
	var status *api.HostStatus
	eventually(t, "status of host "+a.name, func() error {
		o, err := c.Get(t.Context(), api.KindHost, api.Ref{Name: a.name})
		if err != nil {
			return err
		}
		status = &o.(*api.Host).Status
		if !status.Connected || status.Controller == "" || warm && (status.Warm == "" || status.Warm == status.Controller) {
			return fmt.Errorf("%+v", status)
		}
		return nil
	})
	return status
}

// Hosts live through the death and the hanging of controllers: whoever is left
// serves them, and what they have is what was written, whichever way it came.
func TestHostsSurviveControllers(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newCluster(t, 3)
	admin := c.admin(0)
	agents := []*agent{startAgent(t, admin, "h1", "192.0.2.1", c.addresses[0]), startAgent(t, admin, "h2", "192.0.2.2", c.addresses[1])}
	w := writer{t: t, hosts: agents}
	w.prepare(admin)
	alive := 0 // a controller that is never touched in a round, for the API
	for round := range 4 {
		for _, a := range agents {
			a.status(t, c.admin(alive), true)
		}
		victim := (alive + 1 + random.IntN(2)) % 3
		p := c.processes[victim].Process
		hang := random.IntN(2) == 0
		t.Logf("round %d: controller %d, hangs %t", round, victim, hang)
		if hang {
			check(t, p.Signal(syscall.SIGSTOP))
		} else {
			c.kill(victim)
		}
		w.write(c.admin(alive))
		w.check()
		// Each host's tables are had through whoever answers.
		for _, a := range agents {
			eventually(t, "table of host "+a.name, func() error {
				table, err := c.admin(alive).HostTable(t.Context(), api.Ref{Name: a.name}, api.HostTableDrops)
				if err == nil && table.Columns[0] != a.name {
					t.Errorf("table of host %s is of %v", a.name, table.Columns)
				}
				return err
			})
		}
		c.kill(victim)
		c.start(victim)
		alive = (alive + 1) % 3
		c.admin(alive)
	}
}

// writer gives the hosts ports.
type writer struct {
	t       *testing.T
	hosts   []*agent
	ports   int
	project string
}

func (w *writer) prepare(c *client.Client) {
	w.t.Helper()
	w.commit(c,
		&api.Domain{Header: api.Header{Kind: api.KindDomain, Meta: api.Meta{Name: "d"}}},
		&api.Project{Header: api.Header{Kind: api.KindProject, Meta: api.Meta{Name: "p", Parent: api.Ref{Name: "d"}}}},
		&api.Network{Header: api.Header{Kind: api.KindNetwork, Meta: api.Meta{Name: "n", Parent: api.Ref{Name: "d:p"}}}},
		&api.Subnet{Header: api.Header{Kind: api.KindSubnet, Meta: api.Meta{Name: "s", Parent: api.Ref{Name: "d:p:n"}}}, Spec: api.SubnetSpec{CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
	)
}

// write makes a port with an address on every host.
func (w *writer) write(c *client.Client) {
	w.t.Helper()
	for range 5 {
		for _, h := range w.hosts {
			name := fmt.Sprintf("p%d-%s", w.ports, h.name)
			w.commit(c,
				&api.Port{Header: api.Header{Kind: api.KindPort, Meta: api.Meta{Name: name, Parent: api.Ref{Name: "d:p"}}}, Spec: api.PortSpec{Network: api.Ref{Name: "d:p:n"}}},
				&api.Address{Header: api.Header{Kind: api.KindAddress, Meta: api.Meta{Parent: api.Ref{Name: "d:p:n"}}}, Spec: api.AddressSpec{Port: api.Ref{Name: "d:p:" + name}}},
				&api.Binding{Header: api.Header{Kind: api.KindBinding, Meta: api.Meta{Parent: api.Ref{Name: "d:p:" + name}}}, Spec: api.BindingSpec{Host: api.Ref{Name: h.name}, Active: true}},
			)
		}
		w.ports++
	}
}

func (w *writer) commit(c *client.Client, objects ...api.Object) {
	w.t.Helper()
	var ops []api.Operation
	for _, o := range objects {
		ops = append(ops, api.Operation{Op: api.OpCreate, Object: o})
	}
	_, err := c.Transaction(w.t.Context(), ops, false)
	check(w.t, err)
}

// check waits until every host has all its ports.
func (w *writer) check() {
	w.t.Helper()
	for _, h := range w.hosts {
		eventually(w.t, "ports of host "+h.name, func() error {
			if n := h.ports(w.t); n != w.ports {
				return fmt.Errorf("it has %d, want %d", n, w.ports)
			}
			return nil
		})
	}
}
