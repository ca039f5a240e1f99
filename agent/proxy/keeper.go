// SPDX-License-Identifier: Apache-2.0

// Package proxy has the proxies of load-balancers that this host has: a network namespace for
// each, its port, HAProxy in it, and keepalived, by which the two of a pair agree who has the
// virtual addresses. All of it outlives the agent; the next one finds it by its mark.
package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/haproxy"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api/hoststream"
)

// Directory is the name of the root in an agent's run directory.
const Directory = "proxies"

// Feature is what a host says that has proxies.
const Feature = "proxy"

const (
	// tick is how often it is looked whether all processes are there, and who has addresses.
	tick = 500 * time.Millisecond
	// retry is how long after a failure a proxy is tried again, and reread how often
	// certificates are read.
	retry  = 5 * time.Second
	reread = 5 * time.Second
	// clearEvery is how often it is looked whether something is here that is not wanted.
	clearEvery = 10 * time.Second
	// atOnce is how many proxies are worked on together.
	atOnce = 4
	// workTime bounds the work on one of them.
	workTime = 2 * time.Minute
	// askTime bounds the question for HAProxy's version.
	askTime = 10 * time.Second
)

// Plugger gives a proxy its port.
type Plugger interface {
	Plug(ctx context.Context, r plug.Request) (plug.Answer, error)
	Unplug(ctx context.Context, ref string) error
	List(ctx context.Context) (plug.PortList, error)
}

// Keeper has the proxies of this host.
type Keeper struct {
	loop         *host.Loop
	plugger      Plugger
	log          *slog.Logger
	root         string // of all that is ours
	certificates string // the directory of certificates
	runner       *haproxy.Runner
	speaker      speaker

	mu   sync.Mutex
	rows map[string]*kept // by load-balancer

	cleared  time.Time        // when it was last looked for what is not wanted
	speaking map[string][]int // processes of keepalived in this round
}

// kept is a proxy that is wanted.
type kept struct {
	row    *desired.Proxy // that was served last; nil: none was
	files  map[string][]byte
	read   time.Time // when files were
	faults []haproxy.Fault
	failed string
	again  time.Time // when a failure is tried again
	active bool
}

// Options are where things are.
type Options struct {
	Root         string // directory of what is ours
	Certificates string // directory of certificates
	User         string // that HAProxy's workers run as
}

// New returns a keeper, or why this host can have no proxies.
func New(o Options, loop *host.Loop, plugger Plugger, log *slog.Logger) (*Keeper, error) {
	keepalived, err := exec.LookPath("keepalived")
	if err != nil {
		return nil, fmt.Errorf("find keepalived: %w: install Debian's package keepalived", err)
	}
	if err := newEnough(); err != nil {
		return nil, err
	}
	runner, err := haproxy.NewRunner(o.Root, "", haproxy.Place{User: o.User})
	if err != nil {
		return nil, err
	}
	return &Keeper{
		loop: loop, plugger: plugger, log: log, root: o.Root, certificates: o.Certificates, runner: runner,
		speaker: speaker{filepath.Join(o.Root, "vrrp"), keepalived}, rows: map[string]*kept{},
	}, nil
}

// The oldest HAProxy that does what is asked of it.
const oldestMajor, oldestMinor = 2, 6

var version = regexp.MustCompile(`version (\d+)\.(\d+)`)

func newEnough() error {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	out, err := exec.CommandContext(ctx, "haproxy", "-v").Output()
	if err != nil {
		return fmt.Errorf("ask haproxy for its version: %w: install Debian's package haproxy", err)
	}
	m := version.FindSubmatch(out)
	if m == nil {
		return fmt.Errorf("read haproxy's version: %q", bytes.TrimSpace(out[:min(len(out), 100)]))
	}
	major, _ := strconv.Atoi(string(m[1]))
	minor, _ := strconv.Atoi(string(m[2]))
	if major < oldestMajor || major == oldestMajor && minor < oldestMinor {
		return fmt.Errorf("use haproxy %s.%s: %d.%d is the oldest that serves here", m[1], m[2], oldestMajor, oldestMinor)
	}
	return nil
}

// room is the path of a proxy's network namespace.
func (k *Keeper) room(balancer string) string { return filepath.Join(k.root, "rooms", balancer) }

// Run keeps proxies until the context ends. They go on.
func (k *Keeper) Run(ctx context.Context) {
	if k.loop.Wait(ctx, (*host.Core).Tried) != nil {
		return // the context or the loop has ended
	}
	listener, err := k.loop.Listen(ctx)
	if err != nil {
		return
	}
	defer k.loop.Leave(listener)
	timer := time.NewTicker(tick)
	defer timer.Stop()
	for {
		if err := k.round(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("proxies are not as they should be, will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-listener.Changed:
		case <-timer.C:
		}
	}
}

// round brings the proxies closer to what is wanted.
func (k *Keeper) round(ctx context.Context) error {
	wanted, bound, all := map[string]*desired.Proxy{}, map[string]bool{}, false
	err := k.loop.Do(ctx, func(c *host.Core) {
		rows := c.Rows()
		all = c.InSync()
		for id, p := range rows.Proxies {
			_, there := rows.Ports[p.Port]
			wanted[id], bound[id] = p, there
		}
	})
	if err != nil {
		return err
	}
	var bad error
	if all && (time.Since(k.cleared) >= clearEvery || k.fewer(wanted)) {
		if bad = k.clear(ctx, wanted); bad == nil {
			k.cleared = time.Now()
		}
	}
	if len(wanted) == 0 {
		return errors.Join(bad, k.report(ctx, wanted))
	}
	revived, err := k.runner.Revive(ctx)
	for _, id := range revived {
		k.log.Warn("HAProxy had ended, and was started again", "load-balancer", id)
	}
	bad = errors.Join(bad, err)
	if k.speaking, err = k.speaker.running(); err != nil {
		return errors.Join(bad, err)
	}
	group := errgroup.Group{}
	group.SetLimit(atOnce)
	for id, p := range wanted {
		if bound[id] {
			group.Go(func() error { k.keep(ctx, p); return nil })
		}
	}
	_ = group.Wait() // failures are in what was kept
	return errors.Join(bad, k.report(ctx, wanted))
}

// fewer tells whether one that was kept is not wanted any more.
func (k *Keeper) fewer(wanted map[string]*desired.Proxy) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.rows {
		if wanted[id] == nil {
			return true
		}
	}
	return false
}

func (k *Keeper) entry(balancer string) *kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.rows[balancer] == nil {
		k.rows[balancer] = &kept{}
	}
	return k.rows[balancer]
}

// keep has one proxy be as its row says. One call at a time works on a proxy.
func (k *Keeper) keep(ctx context.Context, p *desired.Proxy) {
	e, now := k.entry(p.Balancer), time.Now()
	if e.failed != "" && e.row == p && now.Before(e.again) {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	err := k.serve(bounded, e, p, now)
	if err == nil {
		e.active, err = hasAny(k.room(p.Balancer), p.Addresses)
	}
	if ctx.Err() != nil {
		return // the agent ends
	}
	if e.row = p; err == nil {
		e.failed = ""
		return
	}
	e.again = now.Add(retry)
	if e.failed != err.Error() {
		e.failed = err.Error()
		k.log.Error("a proxy does not serve, will try again", "load-balancer", p.Name, "error", err)
	}
}

// serve does what is to be done for one proxy.
func (k *Keeper) serve(ctx context.Context, e *kept, p *desired.Proxy, now time.Time) error {
	changed := e.row != p || e.failed != ""
	r := read(p)
	if changed || now.Sub(e.read) >= reread {
		files, err := certificates(k.certificates, p.Name, r.named)
		if err != nil && (e.failed == "" || changed) {
			k.log.Warn("certificates of a load-balancer cannot be read", "load-balancer", p.Name, "error", err)
		}
		changed = changed || !maps.EqualFunc(files, e.files, bytes.Equal)
		e.files, e.read = files, now
	}
	if changed {
		room := k.room(p.Balancer)
		if err := ensureRoom(room); err != nil {
			return err
		}
		if _, err := k.plugger.Plug(ctx, plug.Request{Port: p.Port, Place: link.Place{Netns: room, Ifname: interfaceName}}); err != nil {
			return err
		}
		r.Certificates = e.files
		if err := k.runner.Update(ctx, p.Balancer, haproxy.Row{Namespace: room, Proxy: r.Proxy}); err != nil {
			return err
		}
		e.faults = append(r.faults, k.runner.Faults(p.Balancer)...)
	}
	return k.speaker.ensure(p, k.speaking[p.Balancer], k.room(p.Balancer), filepath.Join(k.root, p.Balancer))
}

// report tells the loop, which tells the controllers.
func (k *Keeper) report(ctx context.Context, wanted map[string]*desired.Proxy) error {
	var all []*hoststream.ProxyReport
	for _, id := range slices.Sorted(maps.Keys(wanted)) {
		e := k.entry(id)
		if e.row == nil {
			continue // not tried yet
		}
		r := &hoststream.ProxyReport{LoadBalancer: id, Serving: e.failed == "", Active: e.active, Message: e.failed}
		for _, f := range e.faults[:min(len(e.faults), maxFaults)] {
			r.Faults = append(r.Faults, &hoststream.ProxyFault{Object: f.ID, Reason: f.Reason, Message: f.Message, Partly: f.Partly})
		}
		all = append(all, r)
	}
	return k.loop.Do(ctx, func(c *host.Core) { c.SetProxies(all) })
}

// maxFaults bounds what a load-balancer takes of a report.
const maxFaults = 1000

// clear takes away the proxies with our mark that are not wanted.
func (k *Keeper) clear(ctx context.Context, wanted map[string]*desired.Proxy) error {
	owned, err := k.owned(ctx)
	if err != nil {
		return err
	}
	var bad error
	for id := range owned {
		if wanted[id] != nil {
			continue
		}
		if err := k.remove(ctx, id); err != nil {
			bad = errors.Join(bad, fmt.Errorf("remove the proxy of load-balancer %s: %w", id, err))
			continue
		}
		k.log.Info("a proxy was removed", "load-balancer", id)
	}
	return bad
}

// owned are the load-balancers of which something is here.
func (k *Keeper) owned(ctx context.Context) (map[string]bool, error) {
	owned := map[string]bool{}
	if k.runner != nil {
		rows, err := k.runner.Owned(ctx)
		if err != nil {
			return nil, err
		}
		for id := range rows {
			owned[id] = true
		}
	}
	for _, dir := range []string{filepath.Join(k.root, "rooms"), k.speaker.root} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("list proxies: %w", err)
		}
		for _, e := range entries {
			owned[e.Name()] = true
		}
	}
	return owned, nil
}

// remove takes away one proxy: first what speaks for the addresses, so that the other one of the
// pair has them at once.
func (k *Keeper) remove(ctx context.Context, id string) error {
	if err := k.speaker.stop(ctx, id); err != nil {
		return err
	}
	if err := k.runner.Delete(ctx, id); err != nil {
		return err
	}
	ports, err := k.plugger.List(ctx)
	if err != nil {
		return err
	}
	for _, p := range ports.Items {
		if p.Netns != k.room(id) {
			continue
		}
		if err := k.plugger.Unplug(ctx, p.Port); err != nil {
			return err
		}
	}
	if err := removeRoom(k.room(id)); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.rows, id)
	return nil
}
