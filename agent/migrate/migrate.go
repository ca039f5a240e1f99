// SPDX-License-Identifier: Apache-2.0

// Package migrate takes along what the packet path knows of a port's
// conversations when the port comes from another host: who began each. Rules are
// asked about a conversation where it began, so without it the answers within one
// would be asked as if they began another.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/vrouter"
)

const (
	// asked is how many ports are asked about at a time.
	asked = 2
	// attempts to hear of a port's connections, with a pause: a controller may not
	// know yet that the port is here.
	attempts = 5
	pause    = 500 * time.Millisecond
	timeout  = 10 * time.Second
)

// Path is what is needed of the packet path; *vrouter.Datapath is one.
type Path interface {
	ConnectionsOf(port uint32, visit func(vrouter.MovedConnection)) error
	TakeConnections(ifindex int, port uint32, all []vrouter.MovedConnection) (int, error)
}

// Ask returns the rows that the hosts which had a port before tell of it, by a
// controller, and how many they leave out.
type Ask func(ctx context.Context, port string) (rows [][]string, leftOut int, err error)

// Migrator asks for the connections of each port that comes to the host, and
// tells those of ports that were here. It has one Run.
type Migrator struct {
	path  Path
	loop  *host.Loop
	ask   Ask
	log   *slog.Logger
	moved *prometheus.CounterVec
}

// New returns a migrator that asks nobody before Run.
func New(path Path, loop *host.Loop, ask Ask, log *slog.Logger) *Migrator {
	moved := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weft_agent_moved_connections_total",
		Help: "Connections of ports that came to this host, by outcome: taken-over from former hosts; left-behind, since there are more than are taken along or they have no room here.",
	}, []string{"outcome"})
	for _, outcome := range []string{takenOver, leftBehind} {
		moved.WithLabelValues(outcome)
	}
	return &Migrator{path, loop, ask, log, moved}
}

// What becomes of a connection.
const (
	takenOver  = "taken-over"
	leftBehind = "left-behind"
)

// Describe names what is counted.
func (m *Migrator) Describe(to chan<- *prometheus.Desc) { m.moved.Describe(to) }

// Collect reads what is counted.
func (m *Migrator) Collect(to chan<- prometheus.Metric) { m.moved.Collect(to) }

// Table answers with the connections of the port that the question names: of one
// that is here, or was until a minute ago.
func (m *Migrator) Table(_ context.Context, query string) (api.Table, error) {
	v, err := url.ParseQuery(query)
	if err != nil || v.Get("port") == "" {
		return api.Table{}, errors.Join(fmt.Errorf("read connections of a port: it is named as ?port=UUID, and not %q", query), err)
	}
	number := datapath.PortNumber(v.Get("port"))
	if number == 0 {
		return tableOf(nil), nil // its connections cannot be told from others'
	}
	var all []vrouter.MovedConnection
	err = m.path.ConnectionsOf(number, func(c vrouter.MovedConnection) {
		if moves(&c) {
			all = append(all, c)
		}
	})
	if err != nil {
		return api.Table{}, err
	}
	kept, leftOut := lastUsed(all)
	t := tableOf(kept)
	t.LeftOut = leftOut
	return t, nil
}

// live are the ports that packets flow at, by UUID.
type live map[string]int

// Run asks about ports that come until the context ends. Those that are here
// when it begins have what they know in the kernel.
func (m *Migrator) Run(ctx context.Context) {
	changes, err := m.loop.Listen(ctx)
	if err != nil {
		return // the loop has ended
	}
	defer m.loop.Leave(changes)
	if m.loop.Wait(ctx, (*host.Core).Tried) != nil {
		return // it ends
	}
	known, err := m.look(ctx)
	if err != nil {
		return
	}
	group := &errgroup.Group{}
	group.SetLimit(asked)
	defer func() { _ = group.Wait() }() // they fail when all ends
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes.Changed:
		}
		now, err := m.look(ctx)
		if err != nil {
			return
		}
		for id, ifindex := range now {
			if at, was := known[id]; !was || at != ifindex {
				group.Go(func() error {
					m.fetch(ctx, id)
					return m.loop.Do(ctx, func(c *host.Core) { c.Heard(id) }) // fails only when all ends
				})
			}
		}
		known = now
	}
}

// look returns the ports that are live.
func (m *Migrator) look(ctx context.Context) (now live, err error) {
	now = live{}
	err = m.loop.Do(ctx, func(c *host.Core) {
		for id, a := range c.Attached() {
			if _, bound := c.Rows().Ports[id]; bound {
				if state, _ := c.PortState(id); state == api.PortUp {
					now[id] = a.Ifindex
				}
			}
		}
	})
	return now, err
}

// fetch asks for a port's connections, and notes them.
func (m *Migrator) fetch(ctx context.Context, id string) {
	rows, untold, err := m.hear(ctx, id)
	if err != nil {
		if ctx.Err() == nil && status.Code(err) != codes.Unimplemented { // a controller that is older
			m.log.Warn("what the port's former host knows of its conversations is not known here; answers in them are asked as if they began one", "port", id, "error", err)
		}
		return
	}
	var all []vrouter.MovedConnection
	for _, row := range rows {
		c, err := parse(row)
		if err != nil {
			m.log.Warn("a connection of a port is left out", "port", id, "error", err)
			continue
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return
	}
	all, beyond := lastUsed(all)
	if untold += beyond; untold > 0 {
		m.log.Warn("a port has more connections than are taken along, those used last: answers in the others are asked as if they began one", "port", id, "connections", untold)
		m.moved.WithLabelValues(leftBehind).Add(float64(untold))
	}
	now, err := m.look(ctx)
	ifindex, here := now[id]
	if err != nil || !here {
		return // it went meanwhile
	}
	taken, err := m.path.TakeConnections(ifindex, datapath.PortNumber(id), all)
	m.moved.WithLabelValues(takenOver).Add(float64(taken))
	if err != nil {
		m.moved.WithLabelValues(leftBehind).Add(float64(len(all) - taken))
		m.log.Warn("connections of a port are not taken over", "port", id, "connections", len(all)-taken, "error", err)
		return
	}
	m.log.Info("connections of a port are taken over from its former host", "port", id, "connections", taken)
}

func (m *Migrator) hear(ctx context.Context, id string) (rows [][]string, untold int, err error) {
	for range attempts {
		one, cancel := context.WithTimeout(ctx, timeout)
		rows, untold, err = m.ask(one, id)
		cancel()
		if err == nil || status.Code(err) == codes.Unimplemented {
			return rows, untold, err
		}
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-time.After(pause):
		}
	}
	return nil, 0, err
}
