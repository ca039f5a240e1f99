// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/weft-network/weft/lab/topology"
)

// Family is the family of the measured streams; the tunnels' is IPv4.
type Family string

// The families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Options say how much is measured.
type Options struct {
	Run, Dir, Bin string // as in topology.Options; an empty Bin measures the baselines alone
	Seconds       int    // of one stream
	Rounds        int
	Families      []Family
	Loads         []Load
	OneCore       bool   // exchanges have client and server on one core
	Only          string // measure tables only whose heading has this in it
	Progress      func(format string, args ...any)
}

// Settings is what has to be said beside the figures.
type Settings struct {
	Kernel      string   `json:"kernel"`
	CPUs        int      `json:"cpus"`
	Iperf       string   `json:"iperf3"`
	Congestion  string   `json:"congestion"`
	Affinity    string   `json:"affinity"`
	RPS         string   `json:"rpsCPUs"`
	InnerMTU    int      `json:"innerMTU"`
	UnderlayMTU int      `json:"underlayMTU"`
	Seconds     int      `json:"seconds"`
	Rounds      int      `json:"rounds"`
	Offloads    []string `json:"offloads"`
	// LoadBefore is the load average of the last minute before the first stream:
	// what else the machine was doing.
	LoadBefore string `json:"loadBefore"`
}

// Row is a path, family and length with its streams, one a round.
type Row struct {
	Group    Group    `json:"group"`
	Path     string   `json:"path"`
	Family   Family   `json:"family"`
	Load     Load     `json:"load"`
	Baseline string   `json:"baseline"`
	Streams  []Stream `json:"streams"`
	Gbit     Spread   `json:"gbitPerSecond"`
	// OfBaseline compares each stream with the baseline's of the same round.
	OfBaseline  Spread `json:"ofBaseline"`
	Retransmits int    `json:"retransmits"` // of all rounds
	// Disturbed counts measurements that were repeated because something else
	// of the machine took the cores of both ends.
	Disturbed int `json:"disturbed"`
}

// Report is all of a run.
type Report struct {
	Settings Settings `json:"settings"`
	Rows     []Row    `json:"rows"`
}

// Spread is the middle of some values and their ends.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func spreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	middle := v[len(v)/2]
	if len(v)%2 == 0 {
		middle = (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return Spread{Median: middle, Min: v[0], Max: v[len(v)-1]}
}

// Measure builds the paths, runs all rounds and takes everything down again.
func Measure(ctx context.Context, o Options) (report Report, err error) {
	if _, err := exec.LookPath("iperf3"); err != nil {
		return report, errors.New("measure: iperf3 is not installed; on Debian: apt-get install iperf3")
	}
	l, err := topology.New(topology.Options{Run: o.Run, Dir: o.Dir, Bin: o.Bin, Hosts: 2, UnderlayMTU: underlayMTU})
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	paths, err := wire(ctx, l, o)
	if err != nil {
		return report, err
	}
	taps, stop, err := wireTaps(ctx, l, o.Bin != "")
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	paths = append(paths, taps...)
	if report.Settings, err = settings(l, o); err != nil {
		return report, err
	}
	report.Rows = rowsFor(paths, o)
	for round := 1; round <= o.Rounds; round++ {
		if err := measureRound(ctx, l, paths, o, round, report.Rows); err != nil {
			return report, err
		}
	}
	compare(report.Rows)
	return report, equalSegments(report.Rows)
}

// underlayMTU leaves 70 bytes for VXLAN over IPv6, and more to be sure.
const underlayMTU = 1600

func wire(ctx context.Context, l *topology.Lab, o Options) ([]Path, error) {
	o.Progress("build the underlay, two hosts and the paths\n")
	if err := l.WireUnderlay(); err != nil {
		return nil, err
	}
	plain, err := wirePlain(l)
	if err != nil {
		return nil, err
	}
	across, local, err := wireBridge(l)
	if err != nil {
		return nil, err
	}
	paths := []Path{plain, across, local}
	if o.Bin != "" {
		weftAcross, weftLocal, err := wireWeft(ctx, l)
		if err != nil {
			return nil, err
		}
		fabric, err := wireFabric(ctx, l)
		if err != nil {
			return nil, err
		}
		paths = append(paths, weftAcross, weftLocal, fabric)
	}
	slices.SortStableFunc(paths, func(a, b Path) int {
		return slices.Index(groups, a.Group) - slices.Index(groups, b.Group)
	})
	if err := steer(l); err != nil {
		return nil, err
	}
	return paths, startServers(l, paths)
}

var groups = []Group{Across, Local, Taps}

func startServers(l *topology.Lab, paths []Path) error {
	started := map[string]bool{}
	for _, p := range paths {
		if started[p.server] {
			continue
		}
		started[p.server] = true
		if err := l.StartIn(p.server, "iperf-"+p.server, "iperf3", "-s", "-p", iperfPort); err != nil {
			return err
		}
	}
	return nil
}

func heading(g Group, f Family, l Load) string { return fmt.Sprintf("%s, %s, %v", g, f, l) }

func rowsFor(paths []Path, o Options) []Row {
	var rows []Row
	for _, group := range groups {
		for _, family := range o.Families {
			for _, load := range o.Loads {
				if !strings.Contains(heading(group, family, load), o.Only) {
					continue
				}
				baseline := ""
				for _, p := range paths {
					if p.Group != group {
						continue
					}
					if baseline == "" {
						baseline = p.Name
					}
					rows = append(rows, Row{Group: group, Path: p.Name, Family: family, Load: load, Baseline: baseline})
				}
			}
		}
	}
	return rows
}

// measureRound runs every row once. Rows of one comparison follow each other.
func measureRound(ctx context.Context, l *topology.Lab, paths []Path, o Options, round int, rows []Row) error {
	for i := range rows {
		r := &rows[i]
		at := slices.IndexFunc(paths, func(p Path) bool { return p.Group == r.Group && p.Name == r.Path })
		p := paths[at]
		s, err := patientStream(ctx, l.Namespace(p.client), p, r, o.Seconds, round == 1)
		if err != nil {
			return fmt.Errorf("round %d, %s, %s, %s: %w", round, r.Group, r.Path, r.Family, err)
		}
		r.Streams = append(r.Streams, s)
		o.Progress("round %d of %d: %-12s %-22s %s %-42s %6.2f Gbit/s, %d retransmits, cores used %.0f and %.0f %%\n",
			round, o.Rounds, r.Group, r.Path, r.Family, r.Load, s.GbitPerSecond, s.Retransmits, s.ClientCPU, s.ServerCPU)
	}
	return nil
}

// patientStream tries again for a moment in the first round, when servers may
// not listen yet, and a few times when something else took the cores; behind a
// tap it is the bench's own copying that takes them.
func patientStream(ctx context.Context, ns string, p Path, r *Row, seconds int, first bool) (Stream, error) {
	for try := 1; ; try++ {
		s, err := stream(ctx, ns, p.address(r.Family), r.Load, seconds)
		if err == nil {
			if p.Group == Taps || !s.disturbed() || try >= quietTries || ctx.Err() != nil {
				return s, nil
			}
			r.Disturbed++
			continue
		}
		if !first || try == firstTries || ctx.Err() != nil {
			return s, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

const quietTries = 4

const firstTries = 5

// equalSegments refuses figures of paths that did not send segments of one size:
// a larger inner MTU makes any path faster.
func equalSegments(rows []Row) error {
	sizes := map[Family]int{}
	for _, r := range rows {
		for _, s := range r.Streams {
			if sizes[r.Family] == 0 {
				sizes[r.Family] = s.MSS
			}
			if s.MSS != sizes[r.Family] {
				return fmt.Errorf("compare paths: %s %s, %s sent segments of %d bytes and others of %d; the paths must have one inner MTU",
					r.Group, r.Path, r.Family, s.MSS, sizes[r.Family])
			}
		}
	}
	return nil
}

// compare fills in what follows from the streams.
func compare(rows []Row) {
	for i := range rows {
		r := &rows[i]
		base := &rows[slices.IndexFunc(rows, func(b Row) bool {
			return b.Group == r.Group && b.Family == r.Family && b.Load == r.Load && b.Path == r.Baseline
		})]
		var gbit, ratio []float64
		for n, s := range r.Streams {
			gbit = append(gbit, s.GbitPerSecond)
			if b := base.Streams[n].GbitPerSecond; b > 0 {
				ratio = append(ratio, s.GbitPerSecond/b)
			}
			r.Retransmits += s.Retransmits
		}
		r.Gbit, r.OfBaseline = spreadOf(gbit), spreadOf(ratio)
	}
}
