// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

const (
	effectPort    = 5400
	probeInterval = time.Millisecond
	effectTimeout = 10 * time.Second
	// quietAfter is how long no probe has passed when a path counts as closed.
	quietAfter = 500 * time.Millisecond
)

// Effect is how soon changes of policy worked on all hosts, from when the API
// was asked, milliseconds. Every probe is a conversation of its own.
type Effect struct {
	Hosts   int       `json:"hosts"`
	Changes int       `json:"changes"`
	Stored  Quantiles `json:"storedMillis"` // the API's answer
	Allowed Quantiles `json:"allowedMillis"`
	Denied  Quantiles `json:"deniedMillis"`
}

func (e Effect) print(w io.Writer) {
	if e.Changes == 0 {
		return
	}
	line := func(word string, q Quantiles) {
		fmt.Fprintf(w, "  %-24s p50 %.1f, p99 %.1f, max %.1f\n", word, q.P50, q.P99, q.Max)
	}
	fmt.Fprintf(w, "\nChange of policy to effect at a port on each of %d hosts, %d changes, by conversations that begin each millisecond; ms since the API was asked\n", e.Hosts, e.Changes)
	line("stored", e.Stored)
	line("allowed everywhere", e.Allowed)
	line("denied everywhere", e.Denied)
}

// probing sends datagrams from one workload to another, each from a port of its
// own, that say when they were sent, and notes those that arrive.
type probing struct {
	mu          sync.Mutex // guards first and last
	first, last time.Duration
}

func (p *probing) heard(sent time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first == 0 {
		p.first = sent
	}
	p.last = max(p.last, sent)
}

// arm forgets what was heard first.
func (p *probing) arm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.first = 0
}

func (p *probing) at() (first, last time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first, p.last
}

// send runs until the context ends.
func (p *probing) send(ctx context.Context, ns string, to netip.Addr, began time.Time) error {
	return namespace.Do(ns, func() error {
		ticker := time.NewTicker(probeInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open a socket for a probe: %w", err)
			}
			body := binary.BigEndian.AppendUint64(nil, uint64(time.Since(began)))
			err = unix.Sendto(fd, body, 0, &unix.SockaddrInet4{Port: effectPort, Addr: to.As4()})
			unix.Close(fd)
			if err != nil && !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.EAGAIN) {
				return fmt.Errorf("send a probe to %v: %w", to, err)
			}
		}
	})
}

// hear runs until the context ends.
func (p *probing) hear(ctx context.Context, ns string) error {
	fd := -1
	err := namespace.Do(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: effectPort})
		}
		return err
	})
	if fd >= 0 {
		defer unix.Close(fd)
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
	}
	if err != nil {
		return fmt.Errorf("listen for probes in %s: %w", ns, err)
	}
	var b [8]byte
	for ctx.Err() == nil {
		if n, _, err := unix.Recvfrom(fd, b[:], 0); err == nil && n == len(b) {
			p.heard(time.Duration(binary.BigEndian.Uint64(b[:])))
		}
	}
	return nil
}

// measureEffect opens and closes the gate of a workload on each host.
func measureEffect(ctx context.Context, l *topology.Lab, o Options, changes int) (e Effect, err error) {
	c, err := l.Client()
	if err != nil {
		return e, err
	}
	defer c.Close()
	running, stop := context.WithCancel(ctx)
	began := time.Now()
	probes := make([]*probing, weftHosts)
	failed := make(chan error, 2*weftHosts)
	for i := range probes {
		p, from, to := &probing{}, fmt.Sprint(probed, i+1), (i+1)%weftHosts+1
		probes[i] = p
		v4, _ := workloadAddresses(probed, to)
		go func() { failed <- p.hear(running, l.Namespace(fmt.Sprint(probed, to))) }()
		go func() { failed <- p.send(running, l.Namespace(from), v4, began) }()
	}
	defer func() {
		stop()
		for range 2 * weftHosts {
			err = errors.Join(err, <-failed)
		}
	}()
	var stored, allowed, denied []float64
	for n := range changes {
		opens := n%2 == 0
		took, worked, err := changeGate(ctx, c, probes, began, opens)
		if err != nil {
			return e, err
		}
		stored = append(stored, millis(took))
		if opens {
			allowed = append(allowed, millis(worked))
		} else {
			denied = append(denied, millis(worked))
		}
	}
	e = Effect{Hosts: weftHosts, Changes: changes, Stored: quantilesOf(stored), Allowed: quantilesOf(allowed), Denied: quantilesOf(denied)}
	o.Progress("%d changes of policy: allowed everywhere p50 %.1f ms, p99 %.1f; denied p50 %.1f ms, p99 %.1f\n", changes, e.Allowed.P50, e.Allowed.P99, e.Denied.P50, e.Denied.P99)
	return e, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// changeGate makes or deletes the rule, and returns how long the API took and
// when it worked on the last host.
func changeGate(ctx context.Context, c *client.Client, probes []*probing, began time.Time, opens bool) (stored, worked time.Duration, err error) {
	for _, p := range probes {
		p.arm()
	}
	operation := gate()
	if !opens {
		operation.Op = api.OpDelete
		operation.Object.Head().Meta.FQName = project + ":gate:probes"
	}
	asked := time.Since(began)
	if _, err := c.Transaction(ctx, []api.Operation{operation}, false); err != nil {
		return 0, 0, fmt.Errorf("change the rule that probes need: %w", err)
	}
	stored = time.Since(began) - asked
	for _, p := range probes {
		at, err := p.effect(ctx, began, asked, opens)
		if err != nil {
			return 0, 0, err
		}
		worked = max(worked, at-asked)
	}
	return stored, worked, nil
}

// effect waits until a path is open, or closed, and returns when the first
// probe that passed was sent, or the last.
func (p *probing) effect(ctx context.Context, began time.Time, asked time.Duration, opens bool) (time.Duration, error) {
	for {
		now := time.Since(began)
		first, last := p.at()
		switch {
		case opens && first > 0:
			return first, nil
		case !opens && now-max(last, asked) > quietAfter:
			return max(last, asked), nil
		case now-asked > effectTimeout:
			return 0, fmt.Errorf("wait for the effect of a rule: none within %v", effectTimeout)
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(probeInterval):
		}
	}
}
