// SPDX-License-Identifier: Apache-2.0

package reach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/control/policy"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/world"
)

// patience is a context that is over once it was looked at so often.
type patience struct {
	context.Context
	looked, most int
}

func (p *patience) Err() error {
	if p.looked++; p.looked > p.most {
		return context.DeadlineExceeded
	}
	return nil
}

// manyPieces are three workloads of one network, one with a range for each end of which
// rules name 20 addresses.
func manyPieces() *world.World {
	var w strings.Builder
	w.WriteString("host h1 192.0.2.1\nnetwork blue 10\nsubnet blue 10.0.0.0/24\nsecurity-group all")
	for i := range 20 {
		fmt.Fprintf(&w, "\nallow all in%d ingress IPv4 tcp/22 10.9.0.%d/32\nallow all out%d egress IPv4 tcp/22 10.9.0.%d/32", i, 2*i, i, 2*i)
	}
	for i := range 3 {
		fmt.Fprintf(&w, "\nport blue p%d\naddress blue 10.0.0.%d p%d\nbind p%d h1\nsecured p%d all", i, 5+i, i, i, i)
	}
	w.WriteString("\npair p0 10.9.0.0/24")
	return world.New(w.String())
}

// TestNothingGoesOnWhenItIsLate: whatever is asked looks for each pair of ports, and for
// each piece of a range, whether whoever asked still waits.
func TestNothingGoesOnWhenItIsLate(t *testing.T) {
	w := manyPieces()
	d := policy.Derive(routing.Derive(w))
	network := "network/" + world.UUID(api.KindNetwork, "blue")
	port := func(name string) string { return "port/" + world.UUID(api.KindPort, name) }
	find := func(m *Model, text string) []*routing.Port {
		ports, err := m.Find(w, text)
		if err != nil {
			t.Fatal(err)
		}
		return ports
	}
	never := func(from, to string) func(context.Context, *Model) error {
		return func(ctx context.Context, m *Model) error {
			_, err := m.Check(ctx, w, api.Assertion{Never: &api.Encounter{From: from, To: to, Protocol: "udp"}})
			return err
		}
	}
	for what, c := range map[string]struct {
		looks int
		ask   func(context.Context, *Model) error
	}{
		"check of pairs":             {1, never(port("p1"), port("p2"))},
		"check of a pair":            {1 + 20, never(port("p0"), port("p1"))},
		"check of what may be taken": {1 + 20, never(port("p1"), port("p0"))},
		"check of ranges":            {3 * 20, never("cidr/10.9.0.0/24", network)},
		"rows": {2, func(ctx context.Context, m *Model) error {
			ports := append(find(m, port("p1")), find(m, port("p2"))...)
			_, err := m.Rows(ctx, ports, ports)
			return err
		}},
		"outside": {20, func(ctx context.Context, m *Model) error {
			_, err := m.Outside(ctx, find(m, port("p0")), policy.Ingress, netip.MustParsePrefix("10.9.0.0/24"))
			return err
		}},
	} {
		all := &patience{Context: t.Context(), most: 1 << 30}
		if err := c.ask(all, New(d)); err != nil || all.looked < c.looks {
			t.Errorf("%s: looked %d times, %v; want at least %d", what, all.looked, err, c.looks)
		}
		for most := range all.looked {
			p := &patience{Context: t.Context(), most: most}
			var e *api.Error
			if err := c.ask(p, New(d)); !errors.As(err, &e) || e.Code != api.CodeTimeout || p.looked != most+1 {
				t.Fatalf("%s: late at look %d of %d: %v after %d", what, most+1, all.looked, err, p.looked)
			}
		}
	}
}

// TestQuestionsAreBounded: by pairs of ports, by ports where the other end is addresses,
// and by the pieces of a range.
func TestQuestionsAreBounded(t *testing.T) {
	w := manyPieces()
	m := New(policy.Derive(routing.Derive(w)))
	ports := m.routing.Ports()
	ask := map[string]func() error{
		"rows": func() error { _, err := m.Rows(t.Context(), ports, ports[:1]); return err },
		"outside": func() error {
			_, err := m.Outside(t.Context(), ports, policy.Egress, netip.MustParsePrefix("10.9.0.0/24"))
			return err
		},
		"check": func() error {
			_, err := m.Check(t.Context(), w, api.Assertion{Never: &api.Encounter{From: "network/" + world.UUID(api.KindNetwork, "blue"), To: "cidr/10.9.0.0/24"}})
			return err
		},
	}
	for what, do := range ask {
		m.maxPairs = 3
		if err := do(); err != nil {
			t.Errorf("%s of 3: %v", what, err)
		}
		m.maxPairs = 2
		var e *api.Error
		if err := do(); !errors.As(err, &e) || e.Code != api.CodeInvalid || !strings.Contains(e.Message, "at most 2 pairs") {
			t.Errorf("%s of 3, of which 2 may be: %v", what, err)
		}
	}
	var by []netip.Prefix
	for i := range maxPieces {
		by = append(by, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 15), byte(i >> 7), byte(i << 1)}), 32))
	}
	whole := netip.MustParsePrefix("10.0.0.0/8")
	if pieces, err := piecesOf(whole, by[1:]); err != nil || len(pieces) != maxPieces {
		t.Errorf("%d pieces: %v", len(pieces), err)
	}
	if _, err := piecesOf(whole, by); err == nil {
		t.Errorf("%d pieces are taken", maxPieces+1)
	}
}
