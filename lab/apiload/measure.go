// SPDX-License-Identifier: Apache-2.0

package apiload

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-network/weft/api"
)

// Options say what is measured.
type Options struct {
	Controller string // the binary
	Below      string // folder for the data directory; its disk is what is measured
	Rate       int    // creations a second
	Duration   time.Duration
	List       int   // ports of a list
	Lists      int   // how often it is read
	Memory     []int // numbers of ports at which memory is read, ascending
	Progress   func(format string, args ...any)
}

// Report is what was measured.
type Report struct {
	Creations Creations
	Fsync50   Bound
	Fsync99   Bound
	List      Lists
	Memory    []Memory
}

// Creations are ports with an address each, made one a transaction, arriving at
// fixed times whatever became of those before. Latency counts from the time
// that a creation was due.
type Creations struct {
	Rate, Made, Failed   int
	P50, P90, P99, Worst time.Duration
	FirstError           string
}

// Lists are whole lists of ports as JSON, from the request to the last byte.
type Lists struct {
	Ports                int
	Bytes                int
	Median, Least, Worst time.Duration
}

// Memory is what the controller holds with so many ports, each with an address.
type Memory struct {
	Ports          int
	Resident, Heap int64 // bytes
	ResidentPer    int64 // bytes for 1,000 ports above an empty controller
}

const (
	project = "default-domain:default-project"
	// perNetwork ports share a network, as a tenant's do.
	perNetwork = 1000
	// few ports are there before creations are measured, if at all.
	few = 1000
	// perTransaction ports are made at once where only their number matters.
	perTransaction = 40
	loaders        = 4
	// settle is waited for after loading, for statuses to be written.
	settle = 3 * time.Second
)

// Measure starts a controller and measures it.
func Measure(ctx context.Context, o Options) (r Report, err error) {
	c, err := start(ctx, o.Controller, o.Below)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	m := &measurement{controller: c, Options: o}
	empty, err := m.memory(ctx, 0, 0)
	if err != nil {
		return r, err
	}
	for len(o.Memory) > 0 && o.Memory[0] <= few {
		if err := m.weigh(ctx, o.Memory[0], empty, &r); err != nil {
			return r, err
		}
		o.Memory = o.Memory[1:]
	}
	if err := m.creations(ctx, &r); err != nil {
		return r, err
	}
	if o.List > 0 {
		if err := m.grow(ctx, o.List); err != nil {
			return r, err
		}
		if err := m.lists(ctx, &r); err != nil {
			return r, err
		}
	}
	for _, ports := range o.Memory {
		if err := m.weigh(ctx, ports, empty, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// measurement is a controller with what was made in it so far.
type measurement struct {
	*controller
	Options
	ports    int
	networks int
}

// weigh reads the memory at a number of ports, if there are not more already.
func (m *measurement) weigh(ctx context.Context, ports int, empty Memory, r *Report) error {
	if ports < m.ports {
		return nil
	}
	if err := m.grow(ctx, ports); err != nil {
		return err
	}
	now, err := m.memory(ctx, ports, empty.Resident)
	r.Memory = append(r.Memory, now)
	return err
}

// network makes the next network with its subnet.
func (m *measurement) network(ctx context.Context) (string, error) {
	n := m.networks
	m.networks++
	fq := fmt.Sprintf("%s:n%d", project, n)
	_, err := m.Transaction(ctx, []api.Operation{
		{Op: api.OpCreate, Object: &api.Network{Header: head(api.KindNetwork, fmt.Sprint("n", n), project)}},
		{Op: api.OpCreate, Object: &api.Subnet{Header: head(api.KindSubnet, "v4", fq), Spec: api.SubnetSpec{
			CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 4), byte(n<<4) & 0xf0, 0}), 20)}}},
	}, false)
	return fq, err
}

func head(kind api.Kind, name, parent string) api.Header {
	return api.Header{Kind: kind, Meta: api.Meta{Name: name, Parent: api.Ref{Name: parent}}}
}

// port are the operations that make a port with an address.
func port(name, network string) []api.Operation {
	p := &api.Port{Header: head(api.KindPort, name, project)}
	p.Spec.Network = api.Ref{Name: network}
	a := &api.Address{Header: head(api.KindAddress, name, network)}
	a.Spec.Port = api.Ref{Name: project + ":" + name}
	return []api.Operation{{Op: api.OpCreate, Object: p}, {Op: api.OpCreate, Object: a}}
}

// creations makes ports at fixed times.
func (m *measurement) creations(ctx context.Context, r *Report) error {
	network, err := m.network(ctx)
	if err != nil {
		return err
	}
	before, err := m.fsyncs(ctx)
	if err != nil {
		return err
	}
	total := m.Rate * int(m.Duration/time.Second)
	m.Progress("%d ports at %d/s\n", total, m.Rate)
	took, errs := make([]time.Duration, total), make([]error, total)
	var wait sync.WaitGroup
	begun := time.Now().Add(100 * time.Millisecond)
	for n := range total {
		due := begun.Add(time.Duration(n) * time.Second / time.Duration(m.Rate))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			wait.Wait()
			return ctx.Err()
		}
		wait.Go(func() {
			_, errs[n] = m.Transaction(ctx, port(fmt.Sprint("p", n), network), false)
			took[n] = time.Since(due)
		})
	}
	wait.Wait()
	after, err := m.fsyncs(ctx)
	if err != nil {
		return err
	}
	synced := after.since(before)
	r.Fsync50, r.Fsync99 = synced.quantile(0.5), synced.quantile(0.99)
	r.Creations = summary(m.Rate, took, errs)
	m.ports += r.Creations.Made
	return nil
}

func summary(rate int, took []time.Duration, errs []error) Creations {
	c := Creations{Rate: rate}
	for _, err := range errs {
		if err == nil {
			c.Made++
			continue
		}
		if c.Failed++; c.FirstError == "" {
			c.FirstError = err.Error()
		}
	}
	took = slices.Sorted(slices.Values(took)) // also of those that failed: they were waited for
	c.P50, c.P90, c.P99, c.Worst = share(took, 0.5), share(took, 0.9), share(took, 0.99), took[len(took)-1]
	return c
}

// share is the smallest value that so many of the sorted values do not exceed.
func share(sorted []time.Duration, q float64) time.Duration {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// grow makes ports until there are so many.
func (m *measurement) grow(ctx context.Context, to int) error {
	if m.ports >= to {
		return nil
	}
	m.Progress("%d ports\n", to)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan []api.Operation)
	var wait sync.WaitGroup
	for range loaders {
		wait.Go(func() {
			for ops := range work {
				if _, err := m.Transaction(ctx, ops, false); err != nil {
					cancel(err)
				}
			}
		})
	}
	for m.ports < to && ctx.Err() == nil {
		network, err := m.network(ctx)
		if err != nil {
			cancel(err)
			break
		}
		for left := min(perNetwork, to-m.ports); left > 0; left -= perTransaction {
			var ops []api.Operation
			for range min(left, perTransaction) {
				ops = append(ops, port(fmt.Sprint("q", m.ports), network)...)
				m.ports++
			}
			work <- ops // a loader takes it also when the measurement ends
		}
	}
	close(work)
	wait.Wait()
	return context.Cause(ctx)
}

// lists reads the whole list of ports several times.
func (m *measurement) lists(ctx context.Context, r *Report) error {
	var took []time.Duration
	for n := range m.Lists + 1 {
		begun := time.Now()
		data, err := m.read(ctx, "/v1/ports")
		if err != nil {
			return err
		}
		if n > 0 { // the first opens the connection
			took = append(took, time.Since(begun))
		}
		r.List.Bytes = len(data)
	}
	slices.Sort(took)
	r.List.Ports = m.ports
	r.List.Median, r.List.Least, r.List.Worst = share(took, 0.5), took[0], took[len(took)-1]
	return nil
}

func (m *measurement) memory(ctx context.Context, ports int, empty int64) (now Memory, err error) {
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return now, ctx.Err()
	}
	now.Ports = ports
	if now.Resident, err = m.resident(); err != nil {
		return now, err
	}
	if ports > 0 {
		now.ResidentPer = (now.Resident - empty) * 1000 / int64(ports)
	}
	now.Heap, err = m.heap(ctx)
	return now, err
}
