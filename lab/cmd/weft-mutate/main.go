// SPDX-License-Identifier: Apache-2.0

// Command weft-mutate changes the C of the packet path in one place at a time
// and says which changes no test notices.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weft-network/weft/lab/mutation"
)

type options struct {
	sample, workers int
	steps, passed   int
	seed            uint64
	only, id        string
	list, verbose   bool
	reasons         string
	most            float64
	limit           time.Duration
}

func main() {
	var o options
	flag.IntVar(&o.sample, "sample", 0, "try so many mutants, chosen at random (0: all)")
	flag.Uint64Var(&o.seed, "seed", 0, "of the sample and of the worlds that the tests make (0: a new one)")
	flag.StringVar(&o.only, "only", "", "mutants of these files only, separated by commas")
	flag.StringVar(&o.id, "id", "", "these mutants only, separated by commas")
	flag.BoolVar(&o.list, "list", false, "list the mutants and try none")
	flag.BoolVar(&o.verbose, "v", false, "a line for each mutant")
	flag.IntVar(&o.workers, "workers", 2, "mutants at one time")
	flag.IntVar(&o.steps, "steps", 0, "run so many steps of tests and call survivors what they leave (0: all)")
	flag.IntVar(&o.passed, "passed", 0, "leave out so many steps at the beginning, which the mutants have survived before")
	flag.StringVar(&o.reasons, "reasons", "doc/mutation.md", "page that says why mutants may survive")
	flag.Float64Var(&o.most, "most", 10, "fail if more of a hundred survive")
	flag.DurationVar(&o.limit, "limit", 24*time.Hour, "begin no further mutant after this time")
	flag.Parse()
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "weft-mutate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	mutants, err := choose(o)
	if err != nil {
		return err
	}
	if o.list {
		for _, m := range mutants {
			fmt.Println(m)
		}
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("run the tests of vrouter: they load eBPF programs: run as root")
	}
	reasons, err := mutation.ReadReasons(o.reasons)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "weft-mutate: %d mutants, seed %d\n", len(mutants), o.seed)
	dir, err := os.MkdirTemp("", "weft-mutate-")
	if err != nil {
		return fmt.Errorf("make working directory: %w", err)
	}
	defer os.RemoveAll(dir)
	l, err := mutation.NewLaboratory(ctx, ".", dir, o.seed)
	if err != nil {
		return err
	}
	defer l.Close()
	l.Steps, l.Passed = o.steps, o.passed
	report := mutation.Report{Reasons: reasons}
	report.Trials, err = tryAll(ctx, l, mutants, o)
	fmt.Print(report)
	return errors.Join(err, judge(report, o.most))
}

func judge(r mutation.Report, most float64) error {
	var err error
	if n := len(r.Unexplained()); n > 0 {
		err = fmt.Errorf("%d survivors have no reason in the page: find the test that is missing, or say why there can be none", n)
	}
	if r.Survival() > most {
		err = errors.Join(err, fmt.Errorf("%.1f of a hundred survived, at most %.1f may", r.Survival(), most))
	}
	return err
}

// choose lists the mutants that were asked for.
func choose(o options) ([]mutation.Mutant, error) {
	all, err := mutation.List(filepath.Join("vrouter", "bpf"))
	if err != nil {
		return nil, err
	}
	split := func(s string) []string { return strings.FieldsFunc(s, func(r rune) bool { return r == ',' }) }
	files, ids := split(o.only), split(o.id)
	all = slices.DeleteFunc(all, func(m mutation.Mutant) bool {
		return len(files) > 0 && !slices.Contains(files, m.File) || len(ids) > 0 && !slices.Contains(ids, m.ID)
	})
	if len(all) == 0 {
		return nil, fmt.Errorf("no mutant of files %q with ids %q: see weft-mutate -list", o.only, o.id)
	}
	if o.sample > 0 && o.sample < len(all) {
		r := rand.New(rand.NewPCG(o.seed, 0))
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:o.sample]
	}
	return all, nil
}

// tryAll runs mutants on several workers until all are done or the limit is over.
func tryAll(ctx context.Context, l *mutation.Laboratory, mutants []mutation.Mutant, o options) ([]mutation.Trial, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	work := make(chan mutation.Mutant)
	go func() {
		defer close(work)
		for _, m := range mutants {
			if time.Since(began) > o.limit {
				return
			}
			select {
			case work <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	var mu sync.Mutex
	var trials []mutation.Trial
	var group sync.WaitGroup
	for range o.workers {
		group.Go(func() {
			for m := range work {
				t, err := l.Run(ctx, m)
				if err != nil {
					cancel(fmt.Errorf("try mutant %s: %w", m, err))
					return
				}
				mu.Lock()
				trials = append(trials, t)
				if o.verbose || t.Result == mutation.Survived || len(trials)%50 == 0 {
					fmt.Fprintf(os.Stderr, "%4d of %d, %s: %s %s in step %d, %s, %s\n",
						len(trials), len(mutants), time.Since(began).Round(time.Second), t.Result, t.By, t.Step, t.Took.Round(100*time.Millisecond), t.Mutant)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return trials, context.Cause(ctx)
}
