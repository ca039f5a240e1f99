// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/weft-network/weft/agent/join"
	"github.com/weft-network/weft/agent/stream"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/api/hoststream"
)

// joinsAtOnce bounds the hosts that join at the same time.
const joinsAtOnce = 8

// poll is how often the crowd is looked at while waiting for it.
const poll = 20 * time.Millisecond

// Crowd is many agents. Each begins with nothing and keeps its rows while its
// stream is away.
type Crowd struct {
	agents []*agent
	watch  *watch
	meter  meter
	stream string // address

	cancel context.CancelFunc
	work   sync.WaitGroup
}

type agent struct {
	name   string
	ledger *ledger
	id     join.Identity
}

// HostName is the name of the n-th host, from 0.
func HostName(n int) string { return fmt.Sprintf("host-%04d", n) }

// NewCrowd joins hosts to a controller.
func NewCrowd(ctx context.Context, c *Controller, admin *client.Client, hosts int) (*Crowd, error) {
	token, err := admin.CreateToken(ctx, api.TokenRequest{Name: "crowd", Role: api.RoleJoin})
	if err != nil {
		return nil, fmt.Errorf("get a token for the hosts: %w", err)
	}
	crowd := &Crowd{agents: make([]*agent, hosts), watch: newWatch(), stream: c.stream.Addr().String(), cancel: func() {}}
	errs := make([]error, hosts)
	var wait sync.WaitGroup
	slots := make(chan struct{}, joinsAtOnce)
	for i := range hosts {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			crowd.agents[i], errs[i] = crowd.join(ctx, admin.Server(), token.Secret, i)
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return crowd, nil
}

func (c *Crowd) join(ctx context.Context, server, token string, n int) (*agent, error) {
	id, err := join.Join(ctx, join.Request{
		Name: HostName(n), Controller: server, Token: token,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)})}, MTU: 1500,
	})
	if err != nil {
		return nil, err
	}
	return &agent{name: HostName(n), ledger: newLedger(c.watch), id: id}, nil
}

// Connect starts the agents' streams; Disconnect ends them. What the agents
// have stays.
func (c *Crowd) Connect() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	for _, a := range c.agents {
		o := stream.Options{Addresses: []string{c.stream}, Credential: still{a.id}, AgentVersion: "simulated", Dial: c.meter.dial}
		s := stream.New(o, a.ledger, noTables, slog.New(slog.DiscardHandler))
		c.work.Go(func() { s.Run(ctx) })
	}
}

// still is a credential that is not renewed: a run is shorter than its life.
type still struct{ join.Identity }

func (still) Tend(context.Context, hoststream.HostStreamClient) (bool, error) { return false, nil }

func noTables(context.Context, string) (api.Table, error) {
	return api.Table{}, fmt.Errorf("a simulated host has no kernel tables")
}

// Disconnect ends all streams.
func (c *Crowd) Disconnect() {
	c.cancel()
	c.work.Wait()
}

// Opened returns how many streams each agent has opened.
func (c *Crowd) Opened() []int {
	opened := make([]int, len(c.agents))
	for i, a := range c.agents {
		opened[i], _ = a.ledger.state()
	}
	return opened
}

// WaitSync waits until every agent has opened a stream since and was told in
// it that it has everything.
func (c *Crowd) WaitSync(ctx context.Context, since []int) error {
	for i, a := range c.agents {
		for {
			if opened, inSync := a.ledger.state(); inSync && (since == nil || opened > since[i]) {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait until %s has everything: %w", a.name, context.Cause(ctx))
			case <-time.After(poll):
			}
		}
	}
	return nil
}

// Rows counts the rows of all agents.
func (c *Crowd) Rows() int {
	n := 0
	for _, a := range c.agents {
		a.ledger.mu.Lock()
		n += len(a.ledger.rows)
		a.ledger.mu.Unlock()
	}
	return n
}
