// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
)

var (
	errReplaced = errors.New("another controller has a newer epoch: this one's store was replaced")
	errBehind   = errors.New("the controller is behind this host, and another one is not")
	errSame     = errors.New("it is the controller in use")
	errStale    = errors.New("its store is older than what this host has")
	errStopped  = errors.New("the agent stops")
)

// behindPatience is how long a controller may catch up with what the host has
// while another one has caught up already.
const behindPatience = 3 * time.Second

// pair is the two links and what is under way for them. It belongs to Run.
type pair struct {
	*Client
	ctx   context.Context
	at    int    // which address is tried next
	again string // the address to try before that one

	active   *link
	synced   bool // the active one has brought everything
	ended    chan error
	insync   chan struct{}
	failures int       // of the active one, in a row
	dialAt   time.Time // not before

	warm     *link
	refused  int // failures of the one in reserve, in a row
	warmAt   time.Time
	told     string // what the host reports as the one in reserve
	has      desired.Version
	opened   chan opening // delivers what was tried
	trying   bool         // an active one
	tryWarm  bool
	lastWarm string // address tried last for the one in reserve
}

type opening struct {
	link    *link
	address string
	reserve bool
	err     error
}

// Run keeps a stream in use to one of the controllers, and one in reserve to
// another, until the context ends.
func (c *Client) Run(ctx context.Context) {
	p := &pair{
		Client: c, ctx: ctx, at: rand.IntN(max(1, len(c.options.Addresses))), // hosts spread over the controllers
		ended: make(chan error, 1), insync: make(chan struct{}, 1), opened: make(chan opening, 2),
	}
	defer p.stop()
	for ctx.Err() == nil {
		p.look()
		p.step(time.Now())
		p.wait()
	}
}

// look reads what the host has and tells it which controller is in reserve.
func (p *pair) look() {
	name := ""
	if p.warm != nil {
		name, _ = p.warm.peer()
	}
	if name != p.told && name != "" {
		p.log.Info("holding a stream in reserve", "controller", p.warm.address, "name", name)
	}
	p.told = name
	standing := host.Standing{Reserve: name, Connected: p.active != nil && p.synced}
	if has, err := p.loop.Stand(p.ctx, standing); err == nil { // fails only when all ends
		p.has = has
	}
}

// step begins what is due.
func (p *pair) step(now time.Time) {
	p.renew(now)
	p.judge(now)
	switch {
	case p.active != nil || p.trying || now.Before(p.dialAt):
	case p.usable():
		p.use(p.warm, true)
		p.warm, p.warmAt = nil, now
	default:
		p.try()
	}
	if p.active != nil && p.warm == nil && !p.tryWarm && !now.Before(p.warmAt) {
		p.tryReserve()
	}
}

// renew ends links that were opened with a credential of the past, also those
// that were on their way when it was renewed, or had just taken over.
func (p *pair) renew(now time.Time) {
	era := p.renewals.Load()
	if p.active != nil && p.active.era < era {
		p.active.end(errRenewed)
	}
	if p.warm != nil && p.warm.era < era {
		p.dropWarm(errRenewed)
		p.refused, p.warmAt = 0, now
	}
}

// judge ends links that others are better than.
func (p *pair) judge(now time.Time) {
	if p.warm == nil {
		return
	}
	name, warm := p.warm.peer()
	if warm != (desired.Version{}) && warm.Epoch < p.has.Epoch {
		p.dropWarm(errStale)
		return
	}
	if p.active == nil || name == "" {
		return
	}
	inUse, active := p.active.peer()
	switch {
	case name == inUse:
		p.dropWarm(errSame)
	case active.Epoch != 0 && warm.Epoch > active.Epoch:
		p.active.end(errReplaced)
	case !p.synced && now.Sub(p.active.began) > behindPatience && active.Before(p.has) && !warm.Before(p.has):
		p.active.end(errBehind)
	}
}

// usable tells whether the one in reserve can take over: it has answered once.
func (p *pair) usable() bool {
	if p.warm == nil || p.warm.ctx.Err() != nil {
		return false
	}
	name, _ := p.warm.peer()
	return name != ""
}

func (p *pair) dropWarm(why error) {
	if p.told != "" && time.Since(p.warm.began) > steady {
		p.refused = 0
	}
	if status.Code(why) == codes.Unimplemented && p.directory.note(p.warm.address) {
		p.log.Info("the controller is older than this agent", "controller", p.warm.address, "error", why)
		p.warm.close(why) // nothing is wrong: the same one at once
		p.warm, p.warmAt = nil, time.Now()
		p.lastWarm = ""
		return
	}
	level := slog.LevelDebug // again and again, with growing pauses
	if p.refused == 0 {
		level = slog.LevelInfo
	}
	p.log.Log(p.ctx, level, "giving up the stream in reserve", "controller", p.warm.address, "error", why)
	p.warm.close(why)
	p.warm = nil
	p.refused++
	p.warmAt = time.Now().Add(pause(p.refused, rand.Float64()))
}

// use makes a link the one in use.
func (p *pair) use(l *link, begun bool) {
	p.active, p.synced = l, false
	l.began = time.Now()
	select {
	case <-p.insync: // of the one before
	default:
	}
	go func() {
		err := p.serve(l, begun, func() { p.insync <- struct{}{} })
		l.close(err)
		p.ended <- err
	}()
}

// try opens a stream to the next controller.
func (p *pair) try() {
	addresses := p.directory.addresses()
	if len(addresses) == 0 {
		return
	}
	address := p.again
	if p.again = ""; address == "" {
		address = addresses[p.at%len(addresses)]
		p.at++
	}
	p.trying = true
	go func() {
		l, err := p.open(p.ctx, address, inUse(p.options.Beat))
		p.opened <- opening{l, address, false, err}
	}()
}

// tryReserve opens one in reserve to another controller than the one in use.
func (p *pair) tryReserve() {
	others := p.directory.besides(p.active.address)
	if len(others) == 0 {
		return // the list may grow
	}
	address := others[(slices.Index(others, p.lastWarm)+1)%len(others)]
	if p.lastWarm == "" {
		address = others[rand.IntN(len(others))]
	}
	p.lastWarm, p.tryWarm = address, true
	go func() {
		l, err := p.open(p.ctx, address, inReserve(p.options.Beat))
		if err == nil {
			if err = standby(l); err != nil {
				l.close(err)
			}
		}
		p.opened <- opening{l, address, true, err}
	}()
}

// recheck is how often versions are compared without an event.
const recheck = time.Second

// wait returns when something may have to be done.
func (p *pair) wait() {
	var warmDone <-chan struct{}
	if p.warm != nil {
		warmDone = p.warm.ctx.Done()
	}
	timer := time.NewTimer(p.due(time.Now()))
	defer timer.Stop()
	select {
	case <-p.ctx.Done():
	case <-timer.C:
	case <-p.stirred:
	case <-p.insync:
		p.synced = true
	case o := <-p.opened:
		p.take(o)
	case err := <-p.ended:
		p.lost(err)
	case <-warmDone:
		p.dropWarm(context.Cause(p.warm.ctx))
	}
}

// due is how long until something is to be done without an event.
func (p *pair) due(now time.Time) time.Duration {
	d := recheck
	if p.active == nil && !p.trying {
		d = min(d, p.dialAt.Sub(now))
	}
	if p.active != nil && p.warm == nil && !p.tryWarm && now.Before(p.warmAt) {
		d = min(d, p.warmAt.Sub(now))
	}
	return max(d, 0)
}

// take takes a link that was opened, or why it was not.
func (p *pair) take(o opening) {
	if o.reserve {
		p.tryWarm = false
		if o.err != nil {
			p.refused++
			p.warmAt = time.Now().Add(pause(p.refused, rand.Float64()))
			p.log.Debug("no stream in reserve yet", "controller", o.address, "error", o.err)
			return
		}
		p.warm = o.link
		return
	}
	p.trying = false
	if o.err != nil {
		p.failed(o.address, o.err)
		return
	}
	p.use(o.link, false)
}

// lost notes that the stream in use has ended.
func (p *pair) lost(err error) {
	address, began := p.active.address, p.active.began
	p.active = nil
	if time.Since(began) > steady {
		p.failures = 0
	}
	if p.ctx.Err() != nil {
		return
	}
	if status.Code(err) == codes.Unimplemented && p.directory.note(address) {
		p.log.Info("the controller is older than this agent", "controller", address, "error", err)
		p.again, p.dialAt = address, time.Time{}
		return
	}
	if errors.Is(err, errRenewed) { // nothing is wrong: the same controller at once
		p.log.Info("opening the streams anew", "controller", address, "reason", err)
		p.again, p.dialAt = address, time.Time{}
		return
	}
	if p.failures == 0 && p.usable() {
		p.failures++
		p.dialAt = time.Time{}
		p.log.Warn("stream ended; going on with the one in reserve", "controller", address, "error", err, "reserve", p.warm.address)
		return
	}
	p.failed(address, err)
}

// failed notes another failure in a row: the next controller is tried after a pause.
func (p *pair) failed(address string, err error) {
	if p.ctx.Err() != nil {
		return
	}
	p.failures++
	wait := pause(p.failures, rand.Float64())
	p.dialAt = time.Now().Add(wait)
	p.log.Warn("stream ended; the host goes on with what it has", "controller", address, "error", err, "retry", wait)
}

// stop ends everything and waits for it.
func (p *pair) stop() {
	if p.active != nil {
		p.active.end(errStopped)
		<-p.ended
	}
	for p.trying || p.tryWarm {
		o := <-p.opened
		if o.reserve {
			p.tryWarm = false
		} else {
			p.trying = false
		}
		if o.err == nil {
			o.link.close(errStopped)
		}
	}
	if p.warm != nil {
		p.warm.close(errStopped)
	}
}
