// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/agent/link"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

const (
	// atOnce is how many tries are on their way together; the others wait.
	atOnce = 128
	// reportPause gathers what changed into one report.
	reportPause = 100 * time.Millisecond
	// idle is how long nothing is looked at while nobody is to be tried.
	idle = time.Minute
)

// Prober tries a workload, until the context ends at the latest.
type Prober interface {
	Try(ctx context.Context, w Wanted) Outcome
	// Watch keeps a session with a workload until the context ends, and tells
	// each time that it becomes good or fails.
	Watch(ctx context.Context, w Wanted, tell func(Outcome))
}

// Keeper tries the members and ports of this host.
type Keeper struct {
	loop   *host.Loop
	prober Prober
	log    *slog.Logger

	mu       sync.Mutex // guards what follows
	schedule *schedule
	good     uint64
	failed   uint64
	unmade   uint64
	late     uint64
}

// New returns a keeper; Run makes it work.
func New(loop *host.Loop, prober Prober, log *slog.Logger) *Keeper {
	return &Keeper{loop: loop, prober: prober, log: log, schedule: newSchedule(rand.N[time.Duration])}
}

// outcome is what became of a try.
type outcome struct {
	Try
	Outcome
}

// Run tries until the context ends.
func (k *Keeper) Run(ctx context.Context) {
	// Before the plugs of an earlier run are known, workloads would be found unplugged.
	if k.loop.Wait(ctx, (*host.Core).Tried) != nil {
		return // the context or the loop has ended
	}
	listener, err := k.loop.Listen(ctx)
	if err != nil {
		return
	}
	defer k.loop.Leave(listener)
	var tries sync.WaitGroup
	defer tries.Wait()
	results := make(chan outcome, atOnce)
	timer := time.NewTimer(idle)
	defer timer.Stop()
	sessions := sessions{k: k, results: results, open: map[string]session{}, work: &tries}
	running, news, reported := 0, false, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-listener.Changed:
			changed, err := k.refresh(ctx)
			if err != nil {
				return
			}
			news = news || changed
			sessions.follow(ctx)
		case r := <-results:
			if !r.watched() {
				running--
			}
			news = k.take(r) || news
		case <-timer.C:
		}
		now := time.Now()
		for _, t := range k.due(now, atOnce-running) {
			running++
			tries.Go(func() {
				select { // sessions fill it too
				case results <- outcome{t, k.try(ctx, t)}:
				case <-ctx.Done():
				}
			})
		}
		pause := k.pause(now, running < atOnce)
		if news && now.Sub(reported) >= reportPause {
			if k.report(ctx) != nil {
				return
			}
			news, reported = false, now
		} else if news {
			pause = min(pause, reportPause)
		}
		timer.Reset(pause)
	}
}

// try makes one try within its time.
func (k *Keeper) try(ctx context.Context, t Try) Outcome {
	if t.Down != "" {
		return Outcome{Why: t.Down}
	}
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	return k.prober.Try(ctx, t.Wanted)
}

func (k *Keeper) due(now time.Time, most int) []Try {
	k.mu.Lock()
	defer k.mu.Unlock()
	tries := k.schedule.due(now, most)
	for _, t := range tries {
		if t.Late {
			k.late++
		}
	}
	return tries
}

// pause is the time until there is something to do; while no try can begin, its
// end wakes us.
func (k *Keeper) pause(now time.Time, room bool) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at, ok := k.schedule.wake(); ok && room {
		return max(0, at.Sub(now))
	}
	return idle
}

// take notes what became of a try.
func (k *Keeper) take(r outcome) (news bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case r.watched():
	case r.Unmade:
		k.unmade++
	case r.Good:
		k.good++
	default:
		k.failed++
	}
	if news = k.schedule.done(r.Try, r.Outcome, time.Now()); news {
		switch c := k.schedule.checks[r.ID]; c.state {
		case Up:
			k.log.Info("a workload that is tried is up", "object", r.Name, "port", r.Port)
		case Down:
			k.log.Warn("a workload that is tried is down", "object", r.Name, "port", r.Port, "reason", r.Why)
		default:
			k.log.Warn("a workload cannot be tried", "object", r.Name, "port", r.Port, "reason", c.why)
		}
	}
	return news
}

// refresh looks which members are to be tried now, and where.
func (k *Keeper) refresh(ctx context.Context) (news bool, err error) {
	all := map[string]Wanted{}
	err = k.loop.Do(ctx, func(c *host.Core) {
		plugs := map[string]host.Plug(nil)
		for id, check := range c.Rows().Checks {
			if plugs == nil {
				plugs = c.Plugs()
			}
			all[id] = Wanted{check, targetOf(c, plugs, check)}
		}
	})
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.schedule.want(all, time.Now()), nil
}

// report tells the loop, which tells the controllers.
func (k *Keeper) report(ctx context.Context) error {
	k.mu.Lock()
	all := k.schedule.reports()
	k.mu.Unlock()
	return k.loop.Do(ctx, func(c *host.Core) { c.SetChecks(all) })
}

// targetOf finds the way to a workload.
func targetOf(c *host.Core, plugs map[string]host.Plug, check desired.Check) Target {
	rows := c.Rows()
	port, bound := rows.Ports[check.Port]
	if !bound {
		return Target{Wait: true} // it comes, or the check goes
	}
	plug, plugged := plugs[check.Port]
	switch state, why := c.PortState(check.Port); {
	case !plugged:
		return Target{Down: "its port is not plugged"}
	case state == api.PortFailed:
		return Target{Down: "its port has failed: " + why}
	case state == api.PortDisabled:
		return Target{Down: "its port is disabled: " + why}
	case state != api.PortUp:
		return Target{Wait: true}
	}
	t := Target{Device: plug.Device, VLAN: plug.VLAN, MAC: port.MAC}
	if t.Device == 0 {
		t.Device = plug.Ifindex
	}
	first := true // of its family
	for _, a := range port.Addresses {
		if a.Prefix.Addr().Is4() != check.Address.Is4() {
			continue
		}
		if a.Prefix.Addr() == check.Address {
			t.Gateway = a.Gateway
			break
		}
		first = false
	}
	raw := check.Type == "ping" || check.Type == "udp" || check.Type == bfd
	if four, six := datapath.Gateways(port); !raw || !t.Gateway.IsValid() {
		if t.Gateway = four; check.Address.Is6() {
			t.Gateway = six
		}
	}
	switch {
	case !t.Gateway.IsValid():
		t.Untried = "no subnet of its port has a gateway of the family, as which a host speaks to its workloads"
	case raw:
	case !first:
		t.Untried = fmt.Sprintf("a host reaches the first address of a family alone, and %v is a further one of its port", check.Address)
	default:
		number := c.Alias(plug.Ifindex)
		if number == 0 {
			return Target{Wait: true}
		}
		if t.Alias = vrouter.AliasAddress(number, check.Address.Is6()); t.Alias.Is6() {
			t.Alias = t.Alias.WithZone(link.HostPathName)
		}
	}
	return t
}

// states counts the members by state.
func (k *Keeper) states() map[string]int {
	n := map[string]int{Up: 0, Down: 0, Untried: 0, "unknown": 0}
	for _, c := range k.schedule.checks {
		if c.state == Unknown {
			n["unknown"]++
		} else {
			n[c.state]++
		}
	}
	return n
}
