// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// changeRate is how many ports change a second beside the stream.
const changeRate = 100

// Churn is what changes of ports cost a stream on the same host, each round
// once without and once with them.
type Churn struct {
	Rate     float64 `json:"rate"` // changes a second that were reached
	Changes  int     `json:"changes"`
	Quiet    Spread  `json:"quietGbit"`
	Changing Spread  `json:"changingGbit"`
	Ratio    Spread  `json:"ratio"` // of the pairs
	// NsQuiet and NsChanging are nanoseconds a frame that the sender's program
	// took, as the kernel counts them.
	NsQuiet    Spread `json:"nsQuiet"`
	NsChanging Spread `json:"nsChanging"`
	// Plug and Unplug are how long a change took, milliseconds.
	Plug   Quantiles `json:"plugMillis"`
	Unplug Quantiles `json:"unplugMillis"`
}

// Quantiles of some durations.
type Quantiles struct{ P50, P99, Max float64 }

func quantilesOf(millis []float64) Quantiles {
	if len(millis) == 0 {
		return Quantiles{}
	}
	v := slices.Sorted(slices.Values(millis))
	at := func(q float64) float64 { return v[min(len(v)-1, int(q*float64(len(v))))] }
	return Quantiles{at(0.5), at(0.99), v[len(v)-1]}
}

// changes is what a time of changing ports came to.
type changes struct {
	plug, unplug []float64
	took         time.Duration
}

func measureChurn(ctx context.Context, l *topology.Lab, paths []Path, guests []*guest, o Options, rounds int) (c Churn, err error) {
	counting, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		return c, fmt.Errorf("count the time programs take: %w", err)
	}
	defer counting.Close()
	path := paths[slices.IndexFunc(paths, func(p Path) bool { return p.Group == Across && p.Name == "Weft" })]
	var quiet, changing, ratio, nsQuiet, nsChanging []float64
	var all changes
	for round := 1; round <= rounds; round++ {
		q, qns, err := timedStream(ctx, l, path, o.Seconds)
		if err != nil {
			return c, err
		}
		stop := make(chan struct{})
		done := make(chan error, 1)
		var made changes
		go func() {
			var err error
			made, err = change(ctx, guests, stop)
			done <- err
		}()
		s, sns, err := timedStream(ctx, l, path, o.Seconds)
		close(stop)
		if err := errors.Join(err, <-done); err != nil {
			return c, err
		}
		all.plug, all.unplug, all.took = append(all.plug, made.plug...), append(all.unplug, made.unplug...), all.took+made.took
		quiet, changing, ratio = append(quiet, q), append(changing, s), append(ratio, s/q)
		nsQuiet, nsChanging = append(nsQuiet, qns), append(nsChanging, sns)
		o.Progress("round %d of %d: %.2f Gbit/s, %.2f while %d ports changed; %.0f and %.0f ns a frame\n",
			round, rounds, q, s, len(made.plug)+len(made.unplug), qns, sns)
	}
	c = Churn{Changes: len(all.plug) + len(all.unplug), Quiet: spreadOf(quiet), Changing: spreadOf(changing), Ratio: spreadOf(ratio),
		NsQuiet: spreadOf(nsQuiet), NsChanging: spreadOf(nsChanging), Plug: quantilesOf(all.plug), Unplug: quantilesOf(all.unplug)}
	c.Rate = float64(c.Changes) / all.took.Seconds()
	return c, nil
}

// timedStream runs a stream and returns its speed and what the program of its
// sender's port took a frame.
func timedStream(ctx context.Context, l *topology.Lab, p Path, seconds int) (gbit, ns float64, err error) {
	before, err := programTime(l)
	if err != nil {
		return 0, 0, err
	}
	s, err := stream(ctx, l.Namespace(p.client), p.address(IPv4), Load{Streams: 1}, seconds)
	if err != nil {
		return 0, 0, err
	}
	after, err := programTime(l)
	if err != nil {
		return 0, 0, err
	}
	if after.RunCount <= before.RunCount {
		return 0, 0, errors.New("the kernel counted no frame in the programs of the first host's ports")
	}
	ns = float64((after.Runtime - before.Runtime).Nanoseconds()) / float64(after.RunCount-before.RunCount)
	return s.GbitPerSecond, ns, nil
}

// programTime sums up the programs that ports of the first host are attached
// to; the kernel accounts a chain of tail calls to its first.
func programTime(l *topology.Lab) (sum ebpf.ProgramStats, err error) {
	err = namespace.Do(l.Namespace(topology.HostName(1)), func() error {
		pins, err := filepath.Glob(filepath.Join(l.BPFDir(1), "links", "port-*"))
		if err != nil {
			return err
		}
		seen := map[ebpf.ProgramID]bool{}
		for _, pin := range pins {
			if err := addProgram(pin, seen, &sum); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("read how long programs took: %w", err)
	}
	return sum, err
}

func addProgram(pin string, seen map[ebpf.ProgramID]bool, sum *ebpf.ProgramStats) error {
	at, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return nil // the port was unplugged meanwhile
	}
	defer at.Close()
	info, err := at.Info()
	if err != nil || seen[info.Program] {
		return err
	}
	seen[info.Program] = true
	program, err := ebpf.NewProgramFromID(info.Program)
	if err != nil {
		return err
	}
	defer program.Close()
	stats, err := program.Stats()
	if err != nil {
		return err
	}
	sum.RunCount += stats.RunCount
	sum.Runtime += stats.Runtime
	return nil
}

// change unplugs and plugs ports in turn, open loop: each change is due at its
// moment, whether or not those before it are done. All are plugged in the end.
func change(ctx context.Context, guests []*guest, stop <-chan struct{}) (c changes, err error) {
	var mu sync.Mutex // guards c and err in the goroutines below
	var work sync.WaitGroup
	tick := time.NewTicker(2 * time.Second / changeRate) // a pair of changes
	defer tick.Stop()
	begin := time.Now()
	busy := make([]sync.Mutex, len(guests))
	for n := 0; ; n = (n + 1) % len(guests) {
		select {
		case <-stop:
			work.Wait()
			c.took = time.Since(begin)
			return c, err
		case <-tick.C:
		}
		work.Go(func() {
			busy[n].Lock()
			defer busy[n].Unlock()
			g := guests[n]
			start := time.Now()
			bad := g.agent.Unplug(ctx, g.port)
			middle := time.Now()
			if bad == nil {
				bad = g.plug(ctx)
			}
			mu.Lock()
			defer mu.Unlock()
			err = errors.Join(err, bad)
			c.unplug = append(c.unplug, float64(middle.Sub(start).Microseconds())/1e3)
			c.plug = append(c.plug, float64(time.Since(middle).Microseconds())/1e3)
		})
	}
}
