// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"math/rand/v2"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/store"
)

// chaosAction breaks something and repairs it.
type chaosAction struct {
	name string
	do   func(r *rand.Rand)
}

// breakThings breaks one thing after another, each once before any comes again,
// until it is told to stop.
func (c *chaos) breakThings(r *rand.Rand, actions []chaosAction) map[string]int {
	counts := map[string]int{}
	for {
		for _, n := range r.Perm(len(actions)) {
			if !c.last(r, 200, 1200) {
				return counts
			}
			counts[actions[n].name]++
			actions[n].do(r)
		}
	}
}

// last waits some milliseconds; it reports false, at once, when it is time to stop.
func (c *chaos) last(r *rand.Rand, from, to int) bool {
	timer := time.NewTimer(time.Duration(from+r.IntN(to-from)) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.stop:
		return false
	}
}

// processActions kill and pause.
func (c *chaos) processActions() []chaosAction {
	kill := func(r *rand.Rand, p *chaosChild) {
		p.signal(syscall.SIGKILL)
		c.await(p.name+" has ended", func() bool { return !p.runs() })
		c.last(r, 100, 800)
		if err := p.start(); err != nil {
			c.t.Error(err)
		}
	}
	pause := func(r *rand.Rand, p *chaosChild) {
		p.signal(syscall.SIGSTOP)
		c.last(r, 500, 3000)
		p.signal(syscall.SIGCONT)
	}
	return []chaosAction{
		{"a controller killed", func(r *rand.Rand) { kill(r, c.controllers[r.IntN(chaosControllers)]) }},
		{"the leading controller killed", func(r *rand.Rand) { kill(r, c.controllers[c.leading()]) }},
		{"the leading controller paused", func(r *rand.Rand) { pause(r, c.controllers[c.leading()]) }},
		{"a member killed", func(r *rand.Rand) { kill(r, c.members[r.IntN(chaosMembers)]) }},
		{"the leader killed", func(r *rand.Rand) { kill(r, c.members[c.leader()]) }},
		{"the leader paused", func(r *rand.Rand) { pause(r, c.members[c.leader()]) }},
	}
}

// networkActions cut and silence, and compact what watches may still want.
func (c *chaos) networkActions() []chaosAction {
	during := func(r *rand.Rand, cut bool, ways ...*way) {
		for _, w := range ways {
			w.set(cut, !cut)
		}
		c.last(r, 500, 2500)
		for _, w := range ways {
			w.set(false, false)
		}
	}
	of := func(controller int) []*way { return c.ways[controller*chaosMembers:][:chaosMembers] }
	return []chaosAction{
		{"a member cut off", func(r *rand.Rand) { during(r, true, c.peers[r.IntN(chaosMembers)]) }},
		{"the leader silent", func(r *rand.Rand) { during(r, false, c.peers[c.leader()]) }},
		{"a controller cut off", func(r *rand.Rand) { during(r, true, of(r.IntN(chaosControllers))...) }},
		{"the leading controller silent", func(r *rand.Rand) { during(r, false, of(c.leading())...) }},
		{"a controller at one member only", func(r *rand.Rand) { during(r, false, of(r.IntN(chaosControllers))[1:]...) }},
		{"compaction", func(*rand.Rand) {
			ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
			defer cancel()
			if reply, err := c.etcd.Get(ctx, "meta/epoch"); err == nil {
				c.etcd.Compact(ctx, reply.Header.Revision) // fails while there is no leader
			}
		}},
	}
}

// leader is the number of etcd's leader, or of any member when nobody knows.
func (c *chaos) leader() int {
	for n, endpoint := range c.direct {
		ctx, cancel := context.WithTimeout(c.t.Context(), 200*time.Millisecond)
		status, err := c.etcd.Status(ctx, endpoint)
		cancel()
		if err == nil && status.Leader == status.Header.MemberId {
			return n
		}
	}
	return 0
}

// leading is the number of the controller that writes statuses, or of any.
func (c *chaos) leading() int {
	ctx, cancel := context.WithTimeout(c.t.Context(), 500*time.Millisecond)
	defer cancel()
	reply, err := c.etcd.Get(ctx, store.PrefixLeader, append(clientv3.WithFirstCreate(), clientv3.WithPrefix())...)
	if err != nil || len(reply.Kvs) == 0 {
		return 0
	}
	for n, admin := range c.admins {
		if admin.Server() == "https://"+string(reply.Kvs[0].Value) {
			return n
		}
	}
	return 0
}
