// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/agent/capacity"
	"github.com/weft-network/weft/agent/captures"
	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/expire"
	checks "github.com/weft-network/weft/agent/health"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/join"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/agent/migrate"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/agent/probe"
	"github.com/weft-network/weft/agent/records"
	"github.com/weft-network/weft/agent/services"
	"github.com/weft-network/weft/agent/state"
	"github.com/weft-network/weft/agent/stream"
	"github.com/weft-network/weft/agent/tables"
	"github.com/weft-network/weft/agent/trace"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

// agent is what the running agent stands on.
type agent struct {
	flags    flags
	dir      state.Dir
	path     *vrouter.Datapath
	links    *link.Driver
	identity join.Identity
	underlay link.Underlay
	given    []netip.Addr // tunnel addresses, by flag
	expiring remembering
	log      *slog.Logger
}

// streams are the controllers' addresses: those of the flags, else those learned
// when joining.
func (a agent) streams() []string {
	if len(a.flags.streams) > 0 {
		return a.flags.streams
	}
	return a.identity.Streams
}

// work fills the tables from what is known, switches the packet path over to
// them, and then follows the controllers until the context ends.
func (a agent) work(ctx context.Context) error {
	if _, err := a.identity.TLS("localhost"); err != nil {
		return err
	}
	want, err := a.rows()
	if err != nil {
		return err
	}
	programmer := datapath.NewProgrammer(datapath.KernelOf(a.path))
	if err := programmer.Load(ctx); err != nil {
		return err
	}
	hooked, err := a.path.Attached()
	if err != nil {
		return err
	}
	// Without rows, what an earlier run left in the kernel is better than nothing.
	blank := want.Len() == 0 && len(hooked) > 0
	tunnel, err := a.links.EnsureTunnel(a.flags.tunnelPort)
	if err != nil {
		return err
	}
	local, err := a.openLocal(ctx)
	if err != nil {
		return err
	}
	defer local.close()
	follower, err := newFollower(a, tunnel, local, want.ToldMTU())
	if err != nil {
		return err
	}
	remembered, taken, err := a.remembered()
	if err != nil {
		return err
	}
	core := host.NewCore(want, follower.now, local.facts(), programmer)
	core.RestoreTaken(taken)
	loop := host.NewLoop(core, func(data []byte) error { return desired.WriteFile(a.dir.Desired(), data) }, a.log)
	plugger := plug.New(loop, a.links, a.path, remembered, []int{tunnel, local.device, local.labelFar}, a.log)
	local.services = services.New(loop, local.requests, local.socket, a.log)
	recorder, err := a.recorder(loop)
	if err != nil {
		return err
	}
	a.expiring = remembering{a.path, recorder}
	client, migrator, captured := a.client(loop, local.services, recorder)
	keeper := checks.New(loop, probe.Prober{}, a.log)
	health := &health{loop: loop, local: local.failures}
	stop, err := observe(a.flags.metricsListen, a.flags.portMetrics, a.path, loop, local.services, health, a.log, recorder, keeper, migrator)
	if err != nil {
		return err
	}
	defer stop()

	group, ctx := errgroup.WithContext(ctx)
	for _, run := range append(a.proxies(core, loop, plugger), loop.Run, recorder.Run, migrator.Run, keeper.Run, captured.Run) {
		group.Go(func() error { run(ctx); return nil })
	}
	group.Go(func() error {
		err := a.serve(ctx, tunnel, blank, loop, plugger, client, health, local, follower)
		if ctx.Err() != nil { // told to end: what was interrupted is no failure
			return context.Canceled
		}
		return err
	})
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// rows are the desired rows of the last run.
func (a agent) rows() (*desired.Table, error) {
	want, err := desired.Open(a.dir.Desired())
	if errors.Is(err, desired.ErrDamaged) {
		a.log.Error("starting without the desired rows of the last run", "error", err)
		return desired.New(), nil
	}
	return want, err
}

// remembering removes connections and has those that ended remembered.
type remembering struct {
	*vrouter.Datapath
	recorder *records.Recorder
}

// ExpireConnections implements expire.Connections.
func (r remembering) ExpireConnections() (int, error) {
	return r.Datapath.ExpireConnections(r.recorder.Ended)
}

// CutServed implements expire.Served.
func (r remembering) CutServed(protocol uint8, left func(vrouter.ConnectionKey, vrouter.MAC) bool) (int, error) {
	return r.Datapath.CutServed(protocol, left, r.recorder.Ended)
}

// cut ends what members that are down have of UDP.
func (a agent) cut(ctx context.Context, loop *host.Loop) error {
	listener, err := loop.Listen(ctx)
	if err != nil {
		return nil // the loop has ended
	}
	defer loop.Leave(listener)
	expire.Cut(ctx, a.expiring, listener.Changed, func(ctx context.Context) (down datapath.Down, err error) {
		err = loop.Do(ctx, func(c *host.Core) { down = c.Down() })
		return down, err
	}, a.log)
	return nil
}

// recorder records what the flags say, and what people ask for.
func (a agent) recorder(loop *host.Loop) (*records.Recorder, error) {
	options, err := a.flags.record.options(a.identity.Host.Name, a.dir.PolicyLog(), a.links.Names, a.log)
	if err != nil {
		return nil, err
	}
	return records.New(a.path, loop, options, a.log), nil
}

// reader answers what people ask of the host's tables.
func (a agent) reader(loop *host.Loop, served *services.Services, recorder *records.Recorder) tables.Reader {
	tracer := trace.Tracer{Path: a.path, NextHops: a.path.NextHops, Loop: loop, Underlay: a.links}
	return tables.Reader{Kernel: datapath.KernelOf(a.path), Statistics: a.path, Loop: loop, Names: a.links.Names, Leases: served.Leases, Trace: tracer.Trace, Records: recorder.Tables()}
}

// client follows the controllers and answers them, and what takes ports'
// connections over asks by it. Captures are answered by it, too.
func (a agent) client(loop *host.Loop, served *services.Services, recorder *records.Recorder) (*stream.Client, *migrate.Migrator, *captures.Captures) {
	captured := captures.New(a.path, loop, a.log)
	reader := a.reader(loop, served, recorder)
	client := stream.New(a.controllers(), loop, reader.Table, a.log)
	migrator := migrate.New(a.path, loop, client.Connections, a.log)
	reader.Records[api.HostTablePortConnections] = migrator.Table
	reader.Records[api.HostTableCapture] = captured.Table
	return client, migrator, captured
}

// remembered opens what is remembered of plugs, and of reserved addresses that were
// given away: to go on without could give one away a second time.
func (a agent) remembered() (plug.Records, []host.Taken, error) {
	all, err := plug.OpenRecords(a.dir.Plugs())
	if err != nil {
		return all, nil, err
	}
	taken, err := all.Taken()
	return all, taken, err
}

// controllers says where the controllers are: by flag, or as they told last,
// and as they told when the host joined.
func (a agent) controllers() stream.Options {
	o := stream.Options{
		Credential: join.NewCredential(a.identity, a.dir.Path(), time.Now), AgentVersion: version, Kernel: kernel(), TendEvery: a.flags.tendEvery,
		Addresses: a.flags.streams,
	}
	if o.Fixed = len(a.flags.streams) > 0; o.Fixed {
		return o
	}
	told, err := stream.Recall(a.dir.Controllers())
	if err != nil {
		a.log.Warn("going to the controllers known when the host joined", "error", err)
	}
	o.Addresses = append(told, a.identity.Streams...)
	o.Remember = func(addresses []string) error { return stream.Keep(a.dir.Controllers(), addresses) }
	return o
}

// serve starts, in this order, what depends on the loop, and waits for its end.
func (a agent) serve(ctx context.Context, tunnel int, blank bool, loop *host.Loop, plugger *plug.Plugger, client *stream.Client, health *health, local *localServices, follower *follower) error {
	plugger.SetKnown(client.Known)
	if err := plugger.Restore(ctx, time.Now()); err != nil {
		a.log.Warn("some plugs of the last run are not well", "error", err)
	}
	if err := loop.Do(ctx, (*host.Core).Start); err != nil {
		return err
	}
	if err := loop.Wait(ctx, (*host.Core).Tried); err != nil {
		return err
	}
	if !blank {
		if err := a.activate(tunnel); err != nil {
			return err
		}
	}
	synced, changed := make(chan struct{}), make(chan struct{}, 1)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { client.Run(ctx); return nil })
	group.Go(func() error { expire.Run(ctx, a.expiring, asked(loop), a.log); return nil })
	group.Go(func() error { return a.cut(ctx, loop) })
	group.Go(func() error { capacity.Run(ctx, a.path, loop, a.log); return nil })
	group.Go(func() error { return local.run(ctx, loop) })
	group.Go(func() error { local.keeper.Run(ctx, loop); return nil })
	group.Go(func() error { return plugger.Serve(ctx, a.flags.Run, func() {}) })
	group.Go(func() error { a.watch(ctx, plugger, changed); return nil })
	group.Go(func() error { follower.run(ctx, loop); return nil })
	group.Go(func() error { plugger.Upkeep(ctx, changed, synced); return nil })
	group.Go(func() error { return plugger.Follow(ctx) })
	group.Go(func() error {
		err := loop.Wait(ctx, func(c *host.Core) bool { return c.InSync() && c.Tried() })
		if err == nil && blank {
			err = a.activate(tunnel)
		}
		if err != nil {
			return err
		}
		close(synced)
		health.ready.Store(true)
		fmt.Println("ready")
		return nil
	})
	return group.Wait()
}

// asked tells which rules ports of this host ask.
func asked(loop *host.Loop) expire.Asked {
	return func(ctx context.Context) (map[uint32]bool, error) {
		numbers := map[uint32]bool{}
		err := loop.Do(ctx, func(c *host.Core) {
			for n := range c.Rules() {
				numbers[n] = true
			}
		})
		return numbers, err
	}
}

// activate switches to this build's programs and opens the tunnel.
func (a agent) activate(tunnel int) error {
	if err := a.path.Activate(); err != nil {
		return err
	}
	if err := a.path.AttachTunnel(tunnel); err != nil {
		return err
	}
	return a.links.StartTunnel(tunnel)
}

// watchPause is the wait before watching anew after the kernel's queue overflowed.
const watchPause = time.Second

// watch sets a flag whenever an interface was removed, or one that somebody else
// makes for a port is not as it was.
func (a agent) watch(ctx context.Context, plugger *plug.Plugger, changed chan<- struct{}) {
	flag := func() {
		select {
		case changed <- struct{}{}:
		default: // set already
		}
	}
	for ctx.Err() == nil {
		heard := func(e link.Event) {
			if e.Removed || plugger.Concerns(e) {
				flag()
			}
		}
		if err := link.Watch(ctx, heard); err != nil {
			a.log.Warn("events of interfaces were lost; looking at all", "error", err)
			flag()
			select {
			case <-ctx.Done():
			case <-time.After(watchPause):
			}
		}
	}
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
