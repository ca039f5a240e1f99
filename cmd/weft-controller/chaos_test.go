// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/api/client/cache"
	"github.com/weft-network/weft/store"
	"github.com/weft-network/weft/store/external"
)

var (
	chaosTime = flag.Duration("chaos", 12*time.Second, "how long TestControllerChaos breaks things")
	chaosSeed = flag.Uint64("chaos-seed", 0, "seed of TestControllerChaos; 0 takes the time")
)

const (
	chaosMembers     = 3
	chaosControllers = 3
	chaosWriters     = 32
	// settleTimeout bounds how long all may take to be right once nothing is
	// broken any more: a lease of a leader, and a backoff.
	settleTimeout = time.Minute
)

// chaos is an etcd cluster and whole controllers, as processes of their own.
type chaos struct {
	t           *testing.T
	members     []*chaosChild
	controllers []*chaosChild
	peers       []*way // to a member from other members
	ways        []*way // to a member from a controller: chaosMembers for each
	direct      []string
	admins      []*client.Client // of each controller
	etcd        *clientv3.Client // past all ways
	stop        chan struct{}
	disk        string // the file that tells how slow the disks are
	history     chaosHistory
	value       atomic.Int64
	acked       atomic.Int64
	unknown     atomic.Int64
}

// TestControllerChaos lets 32 writers write by REST through three controllers to
// an etcd of three members, while all of these are killed, paused and cut off
// and history is compacted. What the writers saw must be possible in one order,
// what was acknowledged must be there and be whole, caches that watch must have
// the same state as a new list, statuses must come to be right, and so must all
// raw keys.
func TestControllerChaos(t *testing.T) {
	seed := *chaosSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d, %v (run again with -chaos-seed and -chaos)", seed, *chaosTime)
	c := newChaos(t)
	c.prepare()
	caches, stopCaches := c.watch()
	defer stopCaches()
	deadline := time.Now().Add(*chaosTime)
	var breakers, writers sync.WaitGroup
	counts := make([]map[string]int, 2)
	for n, actions := range [][]chaosAction{c.processActions(), c.networkActions()} {
		breakers.Go(func() { counts[n] = c.breakThings(rand.New(rand.NewPCG(seed, uint64(100+n))), actions) })
	}
	var all []*chaosWriter
	for n := range chaosWriters {
		w := &chaosWriter{chaos: c, number: n, random: rand.New(rand.NewPCG(seed, uint64(n))), deadline: deadline}
		all = append(all, w)
		writers.Go(w.run)
	}
	<-time.After(*chaosTime)
	close(c.stop)
	breakers.Wait()
	c.heal()
	writers.Wait()
	t.Logf("broken: %v; %d requests acknowledged, %d without a known outcome", counts, c.acked.Load(), c.unknown.Load())
	c.history.check(t)
	c.checkComposites(all)
	c.checkStatuses()
	c.checkCaches(caches)
	problems, err := store.Verify(t.Context(), c.etcd)
	check(t, err)
	for _, p := range problems {
		t.Errorf("raw keys: %s", p)
	}
}

func newChaos(t *testing.T) *chaos {
	t.Helper()
	return newChaosOn(t, "")
}

// newChaosOn is newChaos with disks that are as slow as a file says.
func newChaosOn(t *testing.T, disk string) *chaos {
	t.Helper()
	c := &chaos{t: t, stop: make(chan struct{}), disk: disk}
	c.history.start = time.Now()
	var roles []chaosRole
	var cluster []string
	for n := range chaosMembers {
		own, peer := free(t), free(t)
		w := newWay(t, peer.Host)
		r := chaosRole{Disk: disk, Name: fmt.Sprint("m", n), Dir: filepath.Join(t.TempDir(), "etcd"), Client: own.String(), Peer: peer.String(), Via: "http://" + w.listener.Addr().String()}
		c.peers, c.direct = append(c.peers, w), append(c.direct, r.Client)
		cluster, roles = append(cluster, r.Name+"="+r.Via), append(roles, r)
	}
	for _, r := range roles {
		r.Cluster = strings.Join(cluster, ",")
		c.members = append(c.members, &chaosChild{name: r.Name, role: r})
	}
	t.Cleanup(c.end)
	for _, p := range c.members {
		check(t, p.start())
	}
	etcd, err := external.Connect(t.Context(), external.Config{Endpoints: c.direct}, slog.New(slog.DiscardHandler))
	check(t, err)
	t.Cleanup(etcd.Close)
	c.etcd = etcd.Client()
	for n := range chaosControllers {
		c.addController(n)
	}
	return c
}

// addController starts one more, with the authority of the first.
func (c *chaos) addController(n int) {
	c.t.Helper()
	var endpoints []string
	for _, target := range c.direct {
		w := newWay(c.t, strings.TrimPrefix(target, "http://"))
		c.ways, endpoints = append(c.ways, w), append(endpoints, "http://"+w.listener.Addr().String())
	}
	dir, api, stream := c.t.TempDir(), free(c.t), free(c.t)
	if n > 0 {
		first := c.controllers[0].role.Dir
		check(c.t, os.CopyFS(filepath.Join(dir, "pki"), os.DirFS(filepath.Join(first, "pki"))))
	}
	role := chaosRole{Disk: c.disk, Dir: dir, Arguments: []string{"--data-dir", dir, "--api-listen", api.Host, "--stream-listen", stream.Host}}
	if len(endpoints) > 0 {
		role.Arguments = append(role.Arguments, "--etcd-endpoints", strings.Join(endpoints, ","))
	}
	p := &chaosChild{name: fmt.Sprint("c", n), role: role}
	c.controllers = append(c.controllers, p)
	check(c.t, p.start())
	c.await(p.name+" serves", func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "admin.yaml"))
		if err != nil {
			return false
		}
		config, err := client.ParseConfig(text)
		check(c.t, err)
		one, err := client.New(config)
		check(c.t, err)
		if _, err := one.WhoAmI(c.t.Context()); err != nil {
			one.Close()
			return false
		}
		c.admins = append(c.admins, one)
		c.t.Cleanup(one.Close)
		return true
	})
}

// end kills all processes and waits for their end.
func (c *chaos) end() {
	for _, p := range append(append([]*chaosChild{}, c.members...), c.controllers...) {
		p.signal(syscall.SIGKILL)
		c.await(p.name+" has ended", func() bool { return !p.runs() })
	}
}

// await polls a fact of another process.
func (c *chaos) await(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.After(settleTimeout)
	for tick := time.Tick(20 * time.Millisecond); !ok(); {
		select {
		case <-tick:
		case <-deadline:
			c.t.Errorf("waited for: %s", what)
			return
		}
	}
}

// heal makes everything whole.
func (c *chaos) heal() {
	c.t.Helper()
	for _, w := range append(append([]*way{}, c.peers...), c.ways...) {
		w.set(false, false)
	}
	for _, p := range append(append([]*chaosChild{}, c.members...), c.controllers...) {
		p.signal(syscall.SIGCONT)
		check(c.t, p.start())
	}
	for n, admin := range c.admins {
		c.await(c.controllers[n].name+" serves again", func() bool {
			if err := c.controllers[n].start(); err != nil {
				c.t.Error(err)
			}
			ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second)
			defer cancel()
			_, err := admin.List(ctx, api.KindDomain, client.ListOptions{})
			return err == nil
		})
	}
}

// prepare makes what the writers need.
func (c *chaos) prepare() {
	c.t.Helper()
	project := api.Ref{Name: "default-domain:default-project"}
	for _, o := range []api.Object{
		&api.Host{Header: header(api.KindHost, "h1", api.Ref{}), Spec: api.HostSpec{TunnelAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}},
		&api.Network{Header: header(api.KindNetwork, "chaos", project)},
		&api.Subnet{Header: header(api.KindSubnet, "s", api.Ref{Name: compositeNetwork}), Spec: api.SubnetSpec{CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
	} {
		_, err := c.admins[0].Create(c.t.Context(), o)
		check(c.t, err)
	}
}

func header(kind api.Kind, name string, parent api.Ref) api.Header {
	return api.Header{Kind: kind, Meta: api.Meta{Name: name, Parent: parent}}
}

// watch runs a cache at each controller.
func (c *chaos) watch() (caches []*cache.Cache, stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var wait sync.WaitGroup
	for _, admin := range c.admins {
		one := cache.New(admin, cache.Options{})
		caches = append(caches, one)
		wait.Go(func() {
			if err := one.Run(ctx); err != nil {
				c.t.Errorf("a cache gives up: %v", err)
			}
		})
	}
	return caches, func() { cancel(); wait.Wait() }
}
