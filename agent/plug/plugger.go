// SPDX-License-Identifier: Apache-2.0

package plug

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/api"
)

// Links makes and removes interfaces; link.Driver is the real one.
type Links interface {
	Usable(place link.Place) error // refuses what must not become a port's
	Ensure(port string, place link.Place, s link.Settings) (link.Found, error)
	Find(port string, place link.Place) (link.Found, error) // link.ErrGone if not there
	Release(port string, place link.Place) error
	Follow(port string, place link.Place, was, now link.Settings) error
	Owned() (map[string]string, error)
	RemoveOwned(name string) error
	Inspect(port string, place link.Place, s link.Settings) (link.Inspection, error)
}

// Hooks is where the packet path is attached.
type Hooks interface {
	Attached() ([]int, error)
	Detach(ifindex int) error
}

// Plugger connects workloads. Its methods may be called from several
// goroutines; work on one port is done one at a time.
type Plugger struct {
	loop    *host.Loop
	links   Links
	hooks   Hooks
	records Records
	keep    map[int]bool // interfaces that are not ports' and keep their hook
	log     *slog.Logger
	known   Known // nil: nobody is asked

	headlessAfter time.Duration
	taking        sync.Mutex // held while reserved addresses are given away or back

	mu sync.Mutex // guards what follows
	// plugs is by port UUID; busy are those somebody works on.
	plugs map[string]*Record
	found map[string]int // interface index
	sizes map[string]int // MTU of interfaces that others make
	busy  map[string]chan struct{}
	// flights are what runtimes have asked for and is not done.
	flights map[flightKey]*flight
}

// New returns a Plugger. keep are interfaces whose hook is not a port's.
func New(loop *host.Loop, links Links, hooks Hooks, records Records, keep []int, log *slog.Logger) *Plugger {
	p := &Plugger{
		loop: loop, links: links, hooks: hooks, records: records, log: log, headlessAfter: HeadlessAfter, keep: map[int]bool{},
		plugs: map[string]*Record{}, found: map[string]int{}, sizes: map[string]int{}, busy: map[string]chan struct{}{},
		flights: map[flightKey]*flight{},
	}
	for _, i := range keep {
		p.keep[i] = true
	}
	return p
}

// claim waits until nobody works on the port and returns what ends the claim.
func (p *Plugger) claim(ctx context.Context, port string) (release func(), err error) {
	for {
		p.mu.Lock()
		other, taken := p.busy[port]
		if !taken {
			mine := make(chan struct{})
			p.busy[port] = mine
			p.mu.Unlock()
			return func() {
				p.mu.Lock()
				delete(p.busy, port)
				p.mu.Unlock()
				close(mine)
			}, nil
		}
		p.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (p *Plugger) record(port string) (Record, int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rec, ok := p.plugs[port]
	if !ok {
		return Record{}, 0, false
	}
	return *rec, p.found[port], true
}

func (p *Plugger) remember(rec Record) error {
	if err := p.records.Save(rec); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plugs[rec.Port] = &rec
	return nil
}

func (p *Plugger) forget(port string) error {
	if err := p.records.Remove(port); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.plugs, port)
	delete(p.found, port)
	delete(p.sizes, port)
	return nil
}

// holder returns another port that has an existing interface.
func (p *Plugger) holder(port, name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for other, rec := range p.plugs {
		if other != port && name != "" && rec.Place.Interface == name {
			return other
		}
	}
	return ""
}

// findSlack is what a plug has left for the interface when the port appears in
// the last moment of its timeout.
const findSlack = 2 * time.Second

// Plug connects a workload to a port and returns when its traffic flows and, if
// that is asked for, other hosts know of it. It waits for the port to be bound to
// this host. Doing it again is success.
func (p *Plugger) Plug(ctx context.Context, r Request) (Answer, error) {
	a, _, err := p.plug(ctx, r)
	if err == nil && r.WaitSeconds > 0 {
		a.Spread = p.spread(ctx, a, time.Duration(r.WaitSeconds)*time.Second)
	}
	return a, err
}

// plug waits for nobody but this host. It also says what the interface was given.
func (p *Plugger) plug(ctx context.Context, r Request) (Answer, link.Settings, error) {
	if err := r.normalize(); err != nil {
		return Answer{}, link.Settings{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout()+findSlack)
	defer cancel()
	row, err := p.find(ctx, r)
	var refused *api.Error
	if errors.As(err, &refused) {
		return Answer{}, link.Settings{}, err
	}
	if err != nil {
		return Answer{}, link.Settings{}, failed("plug", r.Port, err)
	}
	if row.Trunk != "" {
		return Answer{}, link.Settings{}, isCarried(r.Port, row)
	}
	var mtu int
	if err := p.loop.Do(ctx, func(c *host.Core) { mtu = datapath.NetworkMTU(row, c.Rows(), c.Underlay()) }); err != nil {
		return Answer{}, link.Settings{}, failed("plug", r.Port, err)
	}
	release, err := p.claim(ctx, row.ID)
	if err != nil {
		return Answer{}, link.Settings{}, failed("plug", r.Port, err)
	}
	defer release()
	settings := settingsOf(row, mtu)
	f, err := p.connect(ctx, row, r, settings)
	if err != nil {
		return Answer{}, link.Settings{}, failed("plug", r.Port, err)
	}
	if err := p.programmed(ctx, row.ID); err != nil {
		return Answer{}, link.Settings{}, err
	}
	p.log.Info("plugged", "port", row.Name, "interface", f.Name)
	return answer(row, r.Place, f, settings), settings, nil
}

// connect makes the interface and tells the host of it.
func (p *Plugger) connect(ctx context.Context, row desired.Port, r Request, s link.Settings) (link.Found, error) {
	place := r.Place
	if err := context.Cause(ctx); err != nil { // nobody waits for it any more
		return link.Found{}, err
	}
	if other := p.holder(row.ID, place.Interface); other != "" {
		return link.Found{}, inUse(row.Name, place.Interface, other)
	}
	// Before there is a record: undoing a refused plug must not take down an
	// interface that was never taken, and a plug that works stays.
	if err := p.links.Usable(place); err != nil {
		return link.Found{}, err
	}
	old, _, plugged := p.record(row.ID)
	if plugged && old.Place != place && !old.adopted {
		if err := p.disconnect(ctx, old); err != nil {
			return link.Found{}, err
		}
	}
	rec := Record{Port: row.ID, Name: row.Name, Place: place, Attachment: r.holder}
	if place.Netns != "" {
		rec.Given = &s
	}
	if err := p.remember(rec); err != nil {
		return link.Found{}, err
	}
	f, err := p.links.Ensure(row.ID, place, s)
	if err == nil && plugged && old.Place == place && old.Given != nil {
		err = p.links.Follow(row.ID, place, *old.Given, s) // what it was given before and is to have no more
	}
	if err != nil {
		// The record stays: the port is shown as failed, and unplug cleans up.
		failure := host.Plug{Failure: err.Error()}
		_ = p.loop.Do(ctx, func(c *host.Core) { c.SetPlug(row.ID, failure) }) // the first error matters
		return link.Found{}, err
	}
	return f, p.announce(ctx, row.ID, f)
}

func (p *Plugger) announce(ctx context.Context, port string, f link.Found) error {
	p.mu.Lock()
	p.found[port], p.sizes[port] = f.Ifindex, f.MTU
	p.mu.Unlock()
	return p.loop.Do(ctx, func(c *host.Core) { c.SetPlug(port, plugOf(f)) })
}

func plugOf(f link.Found) host.Plug {
	return host.Plug{
		Interface:  f.Name,
		Attachment: datapath.Attachment{Ifindex: f.Ifindex, RedirectPeer: f.RedirectPeer, MTU: f.MTU},
	}
}

// programmed waits until the port's traffic flows.
func (p *Plugger) programmed(ctx context.Context, port string) error {
	why := "not tried yet"
	err := p.loop.Wait(ctx, func(c *host.Core) bool {
		if _, bound := c.Port(port); !bound {
			why = "its binding to this host went away meanwhile"
			return false
		}
		why = c.Reachable(port)
		return why == ""
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return notProgrammed(port, why)
	}
	return err
}

func settingsOf(row desired.Port, mtu int) link.Settings {
	s := link.Settings{MAC: row.MAC, MTU: mtu}
	for _, a := range row.Addresses {
		s.Addresses = append(s.Addresses, link.Address{Prefix: a.Prefix, Gateway: a.Gateway})
	}
	return s
}

// freeTimeout bounds the wait for the tables to let go of an interface before
// it is removed. They retry without it; removing first only costs drops that
// are counted.
const freeTimeout = 5 * time.Second

// disconnect stops a port's traffic and undoes its interface.
func (p *Plugger) disconnect(ctx context.Context, rec Record) error {
	_, ifindex, _ := p.record(rec.Port)
	if err := p.loop.Do(ctx, func(c *host.Core) { c.DropPlug(rec.Port) }); err != nil {
		return err
	}
	if ifindex != 0 {
		limited, cancel := context.WithTimeout(ctx, freeTimeout)
		defer cancel()
		err := p.loop.Wait(limited, func(c *host.Core) bool { return c.Free(ifindex) })
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	if err := p.links.Release(rec.Port, rec.Place); err != nil {
		return err
	}
	if ifindex != 0 { // also when the interface has gone by itself
		if err := p.hooks.Detach(ifindex); err != nil {
			return err
		}
	}
	return p.forget(rec.Port)
}

// unplugTimeout bounds one unplug, which waits for no controller.
const unplugTimeout = 20 * time.Second

// Unplug disconnects a port, and by name every port that has or had the name:
// one may have been deleted and made again while it was plugged. One that is
// not plugged is success.
func (p *Plugger) Unplug(ctx context.Context, ref string) error {
	if ref == "" {
		return api.Errorf(api.CodeInvalid, "unplug: port is required: give its UUID or fully qualified name")
	}
	ctx, cancel := context.WithTimeout(ctx, unplugTimeout)
	defer cancel()
	var bad error
	for _, port := range p.resolve(ref) {
		bad = errors.Join(bad, p.unplug(ctx, ref, port))
	}
	return bad
}

func (p *Plugger) unplug(ctx context.Context, ref, port string) error {
	return p.unplugIf(ctx, ref, port, func(Record) bool { return true })
}

// unplugIf unplugs a port if its record, as it is when nobody else works on it, is so.
func (p *Plugger) unplugIf(ctx context.Context, ref, port string, is func(Record) bool) error {
	release, err := p.claim(ctx, port)
	if err != nil {
		return failed("unplug", ref, err)
	}
	defer release()
	rec, _, plugged := p.record(port)
	if !plugged || !is(rec) {
		return nil
	}
	if err := p.disconnect(ctx, rec); err != nil {
		return failed("unplug", ref, err)
	}
	p.log.Info("unplugged", "port", rec.Name)
	return p.giveBack(ctx, port)
}

// resolve finds the plugged ports of a UUID or name.
func (p *Plugger) resolve(ref string) (ports []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for port, rec := range p.plugs {
		if port == ref || rec.Name == ref {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return ports
}
