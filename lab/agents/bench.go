// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// Options are what is measured.
type Options struct {
	Program string // weft-controller
	Dir     string // of its data
	World   World
	Rate    int // port changes a second
	Seconds int // of changes
	// PolicyRate and PolicySeconds are those of changes of policy.
	PolicyRate, PolicySeconds int
	Say                       func(format string, args ...any)
}

// Report is what was measured.
type Report struct {
	Options
	Join, Fill, Deliver        time.Duration // hosts, networks and ports, rows of all agents
	Settle                     time.Duration // until the controller wrote no more statuses
	Rows                       int           // at all agents
	FillMemory, Memory, Peak   int64         // of the controller: without agents, with all in sync, at most
	Changes, Lost              int
	P50, P99, Max              time.Duration // from stored to the last host's acknowledgement
	Behind                     time.Duration // the most a change began after it was due
	Policy                     PolicyReport
	Reconnect                  time.Duration // until all are in sync again
	ReconnectUp, ReconnectDown int64         // bytes
}

// bench is one measurement.
type bench struct {
	Report
	controller *Controller
	admin      *client.Client
	crowd      *Crowd
	vrfs       []uint32 // by network
}

// Measure runs a controller and agents and measures them.
func Measure(ctx context.Context, o Options) (Report, error) {
	b := &bench{Report: Report{Options: o}}
	var err error
	if b.controller, err = NewController(o.Program, o.Dir); err != nil {
		return b.Report, err
	}
	defer b.controller.Close()
	if err := b.controller.Start(ctx); err != nil {
		return b.Report, err
	}
	if b.admin, err = b.controller.Client(); err != nil {
		return b.Report, err
	}
	defer b.admin.Close()
	for _, step := range []func(context.Context) error{b.load, b.deliver, b.change, b.changePolicy, b.reconnect} {
		if err := step(ctx); err != nil {
			return b.Report, err
		}
	}
	b.crowd.Disconnect()
	return b.Report, nil
}

func (b *bench) load(ctx context.Context) error {
	began := time.Now()
	var err error
	if b.crowd, err = NewCrowd(ctx, b.controller, b.admin, b.World.Hosts); err != nil {
		return err
	}
	b.Join = time.Since(began)
	b.Say("%d hosts joined in %v\n", b.World.Hosts, b.Join.Round(time.Millisecond))
	began = time.Now()
	if err := b.World.Fill(ctx, b.admin); err != nil {
		return err
	}
	b.Fill = time.Since(began)
	if err := b.readVRFs(ctx); err != nil {
		return err
	}
	b.FillMemory, _ = b.controller.Memory()
	b.Say("%d networks of %d ports stored in %v, controller has %d MiB\n", b.World.Networks, b.World.Ports, b.Fill.Round(time.Millisecond), b.FillMemory>>20)
	return nil
}

func (b *bench) deliver(ctx context.Context) error {
	began := time.Now()
	b.crowd.Connect()
	if err := b.crowd.WaitSync(ctx, nil); err != nil {
		return err
	}
	b.Deliver, b.Rows = time.Since(began), b.crowd.Rows()
	b.Memory, b.Peak = b.controller.Memory()
	b.Say("%d rows delivered in %v, controller has %d MiB\n", b.Rows, b.Deliver.Round(time.Millisecond), b.Memory>>20)
	began = time.Now()
	if err := b.waitStatuses(ctx); err != nil {
		return err
	}
	b.Settle = time.Since(began)
	b.Memory, b.Peak = b.controller.Memory()
	b.Say("statuses of all ports stored after %v more, controller has %d MiB, had at most %d\n", b.Settle.Round(time.Millisecond), b.Memory>>20, b.Peak>>20)
	return nil
}

// waitStatuses waits until every port is reported as up.
func (b *bench) waitStatuses(ctx context.Context) error {
	for {
		up := 0
		for o, err := range b.admin.Pages(ctx, api.KindPort, client.ListOptions{Fields: []string{"status.state"}}) {
			if err != nil {
				return err
			}
			if o.(*api.Port).Status.State == api.PortUp {
				up++
			}
		}
		if up >= b.World.Networks*b.World.Ports {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %d ports are up, %d are: %w", b.World.Networks*b.World.Ports, up, context.Cause(ctx))
		case <-time.After(statusPoll):
		}
	}
}

// statusPoll is how often all ports are read, which costs the controller something.
const statusPoll = 3 * time.Second

// change makes and deletes ports at a rate that does not wait for answers.
func (b *bench) change(ctx context.Context) error {
	ticker := time.NewTicker(time.Second / time.Duration(b.Rate))
	defer ticker.Stop()
	var wait sync.WaitGroup
	failures := make(chan error, 1)
	began, total := time.Now(), b.Rate*b.Seconds
	for i := range total {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(b.Rate))
		if d := time.Until(due); d > 0 {
			select {
			case <-time.After(d):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		b.Behind = max(b.Behind, time.Since(due))
		if i%2 == 1 {
			continue // the deletion of the one before follows its creation
		}
		wait.Go(func() {
			if err := b.comeAndGo(ctx, i); err != nil {
				select {
				case failures <- err:
				default:
				}
			}
		})
	}
	wait.Wait()
	select {
	case err := <-failures:
		return err
	default:
	}
	if err := b.crowd.watch.wait(ctx, arrival); err != nil {
		return err
	}
	late, lost := b.crowd.watch.take()
	slices.Sort(late)
	b.Changes, b.Lost = len(late), lost
	if len(late) > 0 {
		b.P50, b.P99, b.Max = late[len(late)/2], late[len(late)*99/100], late[len(late)-1]
	}
	b.Say("%d changes at %d a second: p50 %v, p99 %v, max %v; %d were undone before they arrived\n", b.Changes, b.Rate, b.P50, b.P99, b.Max, b.Lost)
	return nil
}

// arrival bounds the wait for changes to arrive, after the last was stored.
const arrival = 10 * time.Second

// stay is how long a port of the changes exists.
const stay = time.Second

// comeAndGo makes a port and deletes it a while later.
func (b *bench) comeAndGo(ctx context.Context, i int) error {
	network := rand.IntN(b.World.Networks)
	port := b.World.Ports + i
	host := b.World.HostOf(network, rand.IntN(b.World.Ports))
	key := fmt.Sprintf("route/%d/%v/32", b.vrfs[network], address(port))
	made, err := b.write(ctx, key, b.World.makePort(network, port, host))
	if err != nil {
		return err
	}
	select {
	case <-time.After(stay):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	_, err = b.write(ctx, key, drop(made))
	return err
}

// write makes a change and waits for nothing but the API.
func (b *bench) write(ctx context.Context, key string, operations []api.Operation) ([]api.Object, error) {
	b.crowd.watch.expect(key, b.World.HostsOf())
	r, err := b.admin.Transaction(ctx, operations, false)
	b.crowd.watch.stored(key, time.Now())
	return r.Objects, err
}

// reconnect breaks all streams at once and waits until all agents are in sync.
func (b *bench) reconnect(ctx context.Context) error {
	since := b.crowd.Opened()
	up, down := b.crowd.meter.up.Load(), b.crowd.meter.down.Load()
	began := time.Now()
	b.crowd.meter.cut()
	if err := b.crowd.WaitSync(ctx, since); err != nil {
		return err
	}
	b.Reconnect = time.Since(began)
	b.ReconnectUp, b.ReconnectDown = b.crowd.meter.up.Load()-up, b.crowd.meter.down.Load()-down
	b.Memory, b.Peak = b.controller.Memory()
	b.Say("all reconnected in %v: %d KiB up, %d KiB down; controller has %d MiB, had at most %d\n",
		b.Reconnect.Round(time.Millisecond), b.ReconnectUp>>10, b.ReconnectDown>>10, b.Memory>>20, b.Peak>>20)
	return nil
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) {
	o := r.Options
	fmt.Fprintf(w, "%d agents, %d networks of %d ports each on %d hosts\n", o.World.Hosts, o.World.Networks, o.World.Ports, o.World.HostsOf())
	fmt.Fprintf(w, "  load        hosts joined %v, networks and ports stored %v\n", r.Join.Round(time.Millisecond), r.Fill.Round(time.Millisecond))
	fmt.Fprintf(w, "  delivery    %d rows in %v; all statuses stored %v later\n", r.Rows, r.Deliver.Round(time.Millisecond), r.Settle.Round(time.Millisecond))
	fmt.Fprintf(w, "  memory      controller %d MiB with the objects alone, %d MiB with all agents, at most %d MiB\n", r.FillMemory>>20, r.Memory>>20, r.Peak>>20)
	fmt.Fprintf(w, "  change      %d at %d a second, from stored to acknowledged by all hosts: p50 %v, p99 %v, max %v; %d undone before they arrived; begun at most %v late\n",
		r.Changes, o.Rate, r.P50.Round(time.Microsecond), r.P99.Round(time.Microsecond), r.Max.Round(time.Microsecond), r.Lost, r.Behind.Round(time.Microsecond))
	if r.Policy.Changes > 0 {
		fmt.Fprintf(w, "  policy      %d security-groups; %v\n", o.World.Policies, r.Policy)
	}
	fmt.Fprintf(w, "  reconnect   all at once in %v, %d KiB to the controller, %d KiB from it\n", r.Reconnect.Round(time.Millisecond), r.ReconnectUp>>10, r.ReconnectDown>>10)
}

// readVRFs learns which VRF each network got.
func (b *bench) readVRFs(ctx context.Context) error {
	b.vrfs = make([]uint32, b.World.Networks)
	for o, err := range b.admin.Pages(ctx, api.KindNetwork, client.ListOptions{}) {
		if err != nil {
			return err
		}
		var n int
		if _, err := fmt.Sscanf(o.Head().Meta.Name, "net-%d", &n); err == nil {
			b.vrfs[n] = o.(*api.Network).Spec.VNI
		}
	}
	return nil
}
