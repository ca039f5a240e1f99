// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/vrouter"
	"github.com/weft-network/weft/vrouter/rules"
)

// members are whom selectors mean. Who somebody is (a route) and who is meant
// (a ruleset) are two writes. So one who leaves a selector is meant until no route
// says it any more: what a selector means of an identity never changes, only who
// has the identity does. Who a member behind a virtual address is, is said by its row.
type members struct {
	meant map[string][]rules.Identity // by selector, ascending
	still map[string][]rules.Identity // of these, those that the rows do not name any more
}

// follow takes what the rows name now. Those that are leaving stay.
func (m *members) follow(selectors map[string]desired.Selector, leaving func() map[rules.Identity]bool) {
	meant, still := make(map[string][]rules.Identity, len(selectors)), map[string][]rules.Identity{}
	for id, s := range selectors {
		meant[id] = s.Identities
		for _, was := range m.meant[id] {
			if _, named := slices.BinarySearch(s.Identities, was); !named && leaving()[was] {
				still[id] = append(still[id], was)
			}
		}
		if len(still[id]) > 0 {
			meant[id] = slices.Concat(s.Identities, still[id])
			slices.Sort(meant[id])
		}
	}
	m.meant, m.still = meant, still
}

// followMembers takes whom selectors mean from tables that are wanted now.
func (p *Programmer) followMembers(t *Tables) {
	p.members.follow(t.Selectors, sync.OnceValue(func() map[rules.Identity]bool { return p.leaving(t) }))
	if p.held != nil {
		p.members.join(p.held.moved, func(m move) rules.Identity { return m.is })
	}
}

// name is that of a ruleset with those that are still meant.
func (m *members) name(name desired.Digest, set desired.Ruleset) desired.Digest {
	digest := sha256.New()
	any := false
	for _, rule := range set.Rules {
		for _, id := range rule.Selectors {
			for _, identity := range m.still[id] {
				any = true
				digest.Write([]byte(id))
				digest.Write(binary.BigEndian.AppendUint64(nil, uint64(identity)))
			}
		}
	}
	if !any {
		return name
	}
	digest.Write(name[:])
	return desired.Digest(digest.Sum(nil))
}

// leaving are the identities that routes and members in the kernel say and no wanted one
// does in their place; all that are said at all while what is wanted is not
// all here.
func (p *Programmer) leaving(t *Tables) map[rules.Identity]bool {
	all := map[rules.Identity]bool{}
	p.routes.EachHad(func(key vrouter.RouteKey, has Route) {
		if want, wanted := t.Routes[key]; !wanted || want.Who != has.Who {
			all[has.Who] = true
		}
	})
	wanted := t.Balanced.places()
	p.service.members.EachHad(func(key vrouter.PoolMemberKey, has PoolMember) {
		if _, want, is := wanted(key); !is || t.Balanced.told(key, want).Identity != has.Identity {
			all[has.Identity] = true
		}
	})
	if t.Partial {
		for _, r := range t.Routes {
			all[r.Who] = true
		}
		for _, of := range t.Balanced.Of {
			for _, m := range of.Members {
				all[m.Identity] = true
			}
		}
	}
	return all
}

// releaseMembers ends what is still meant of what no route says any more, and
// tells whether there was any.
func (p *Programmer) releaseMembers() bool {
	if len(p.members.still) == 0 {
		return false
	}
	leaving := p.leaving(&p.tables)
	if p.held != nil { // they stay, and as who they are is settled
		for m := range p.held.moved.all() {
			leaving[m.between] = true
		}
	}
	for _, identities := range p.members.still {
		if slices.ContainsFunc(identities, func(i rules.Identity) bool { return !leaving[i] }) {
			p.followMembers(&p.tables)
			p.applyPolicies(&p.tables)
			return true
		}
	}
	return false
}

// policyUpdates brings all rulesets and what ports ask into the kernel, so that
// routes which say who somebody is come after what is said about them.
func (p *Programmer) policyUpdates(ctx context.Context, now time.Time) (done int) {
	for {
		n := p.rulesets.Updates(ctx, now) + p.policies.Updates(ctx, now)
		if done += n; n == 0 || ctx.Err() != nil {
			return done
		}
	}
}
