// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
)

// Bounds of connections to services of the fabric.
const (
	maxFabric      = 512 // at a time, to one service, of all workloads of the host
	maxFabricEach  = 128 // of one workload
	fabricPatience = 10 * time.Second
	fabricIdle     = 10 * time.Minute
)

// Relay passes what workloads say on to one service of the fabric.
type Relay struct {
	services  *Services
	name      string
	streams   string // host:port of TCP; empty: none
	datagrams string // host:port of UDP; empty: none
	slots     *Slots
}

// NewRelay returns a relay to a service by TCP, by UDP or by both.
func NewRelay(s *Services, name, streams, datagrams string) *Relay {
	return &Relay{services: s, name: name, streams: streams, datagrams: datagrams, slots: NewSlots(maxFabric, maxFabricEach)}
}

// Run relays what arrives at the listeners until the context ends, and then
// waits for the end of all connections.
func (r *Relay) Run(ctx context.Context, l *Listeners) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range l.Streams {
		if r.streams == "" {
			continue
		}
		s = bounded{s, r.services, r.slots}
		group.Go(func() error {
			for {
				conn, err := s.Accept()
				if ctx.Err() != nil {
					return nil
				}
				if err != nil {
					return fmt.Errorf("accept for service %s: %w", r.name, err)
				}
				group.Go(func() error { r.relay(ctx, conn); return nil })
			}
		})
	}
	for _, p := range l.Packets {
		group.Go(func() error { return r.relayDatagrams(ctx, p) })
	}
	group.Go(func() error { <-ctx.Done(); l.Close(); return nil })
	return group.Wait()
}

func (r *Relay) relay(ctx context.Context, workload net.Conn) {
	defer workload.Close()
	f, _ := r.services.whose(workload.RemoteAddr()) // it was when it was accepted
	server, err := (&net.Dialer{Timeout: fabricPatience}).DialContext(ctx, "tcp", r.streams)
	if err != nil {
		r.services.log.Warn("a service of the fabric does not answer", "service", r.name, "server", r.streams, "port", f.Port, "error", err)
		return
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { workload.Close(); server.Close() })
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); pass(server, workload) }()
	pass(workload, server)
	<-done
}

// pass copies until the end of one side, which it hands on, or until nothing
// has moved for a time, which ends both.
func pass(to, from net.Conn) {
	buffer := make([]byte, 16<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(fabricIdle)) // fails as Read does
		n, err := from.Read(buffer)
		if n > 0 {
			if _, bad := to.Write(buffer[:n]); bad != nil {
				from.Close()
				return
			}
		}
		if err == nil {
			continue
		}
		if half, ok := to.(interface{ CloseWrite() error }); ok && errors.Is(err, io.EOF) {
			_ = half.CloseWrite() // the other direction goes on
			return
		}
		to.Close()
		from.Close()
		return
	}
}
