// SPDX-License-Identifier: Apache-2.0

package desired_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
)

// What a host is told of virtual addresses, and what it makes of what it does not know.
func TestBalancedRows(t *testing.T) {
	listener := func(change func(l *hoststream.Listener)) *hoststream.Row {
		l := &hoststream.Listener{Vrf: 5, LoadBalancer: "lb", Listener: "i", ListenerName: "d:p:i", Addresses: [][]byte{{10, 0, 0, 9}}, Protocol: 17, Port: 53, Pool: "p", Locality: "only-moon", AffinitySeconds: 60}
		change(l)
		return &hoststream.Row{Body: &hoststream.Row_Listener{Listener: l}}
	}
	member := func(change func(m *hoststream.Member)) *hoststream.Row {
		m := &hoststream.Member{Vrf: 5, LoadBalancer: "lb", Member: "m", MemberName: "d:p:m", Pool: "p", Port: "port", Host: "h", Addresses: [][]byte{{10, 0, 0, 5}, make([]byte, 16)}, TargetPort: 8053, Mac: []byte{10, 1, 2, 3, 4, 5}, State: "active", Weight: 3, Workload: 7}
		change(m)
		return &hoststream.Row{Body: &hoststream.Row_Member{Member: m}}
	}
	table := desired.New()
	put := func(key string, r *hoststream.Row) string {
		t.Helper()
		if err := table.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1}, Put: []*hoststream.EncodedRow{row(t, key, r)}}); err != nil {
			t.Fatal(err)
		}
		return table.Bad[key]
	}
	if why := put("listener/5/lb/i", listener(func(*hoststream.Listener) {})); why != "" {
		t.Fatal(why)
	}
	if why := put("member/5/lb/m", member(func(*hoststream.Member) {})); why != "" {
		t.Fatal(why)
	}
	lb := desired.BalancerKey{VRF: 5, ID: "lb"}
	first := table.Balancers[lb]
	l, m := first.Listeners["i"], first.Members["m"]
	if l.Addresses[0] != netip.MustParseAddr("10.0.0.9") || l.Protocol != 17 || l.Port != 53 || l.Pool != "p" || l.Seconds != 60 {
		t.Errorf("listener is %+v", l)
	}
	if len(m.Addresses) != 2 || m.Target != 8053 || m.State != desired.MemberActive || m.Weight != 3 || m.Workload != 7 || m.MAC[1] != 1 {
		t.Errorf("member is %+v", m)
	}
	if why := put("member/5/lb/m", member(func(m *hoststream.Member) { m.State = "resting" })); why != "" || table.Balancers[lb].Members["m"].State != desired.MemberDraining || first.Members["m"].State != desired.MemberActive {
		t.Errorf("a state that is not known makes the member %+v, what was %+v, %s", table.Balancers[lb], first, why)
	}
	for _, bad := range []struct {
		key string
		row *hoststream.Row
		why string
	}{
		{"listener/5/lb/i", listener(func(l *hoststream.Listener) { l.Needs = []string{"sources"} }), `needs ["sources"]`},
		{"listener/5/lb/i", listener(func(l *hoststream.Listener) { l.Port = 70000 }), "port 70000 is none"},
		{"listener/5/lb/i", listener(func(l *hoststream.Listener) { l.Addresses = nil }), "no address"},
		{"listener/6/lb/i", listener(func(*hoststream.Listener) {}), "row says listener/5/lb/i"},
		{"member/5/lb/m", member(func(m *hoststream.Member) { m.Mac[0] = 2 }), "names no member"},
		{"member/5/lb/m", member(func(m *hoststream.Member) { m.Addresses = [][]byte{{1}} }), "address of 1 bytes"},
	} {
		if why := put(bad.key, bad.row); !strings.Contains(why, bad.why) {
			t.Errorf("%s: %q, want %q", bad.key, why, bad.why)
		}
	}
	if len(table.Balancers) != 0 {
		t.Errorf("bad rows left %v", table.Balancers)
	}
	put("listener/5/lb/i", listener(func(*hoststream.Listener) {}))
	if err := table.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1}, Delete: []string{"listener/5/lb/i", "member/5/lb/m", "listener/6/lb/i"}}); err != nil || len(table.Balancers)+len(table.Bad) != 0 {
		t.Errorf("after all was deleted: %v %v (%v)", table.Balancers, table.Bad, err)
	}
}

// Many members in one delta cost what they are: not for each of them all others. What was
// seen before a delta never changes.
func TestManyMembersInOneDelta(t *testing.T) {
	lb := desired.BalancerKey{VRF: 5, ID: "lb"}
	cost := func(members int) uint64 {
		table := desired.New()
		apply := func(n int, state string) {
			d := &hoststream.Delta{Version: &hoststream.Version{Epoch: 1}}
			for i := range n {
				id := fmt.Sprint("m", i)
				m := &hoststream.Member{Vrf: 5, LoadBalancer: "lb", Member: id, Pool: "p", Addresses: [][]byte{{10, 0, byte(i >> 8), byte(i)}}, TargetPort: 80, Mac: []byte{10, 1, 2, 3, byte(i >> 8), byte(i)}, State: state}
				d.Put = append(d.Put, row(t, desired.MemberRow(lb, id), &hoststream.Row{Body: &hoststream.Row_Member{Member: m}}))
			}
			if err := table.Apply(d); err != nil {
				t.Fatal(err)
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		apply(members, "active")
		runtime.ReadMemStats(&after)
		was := table.Balancers[lb]
		apply(1, "down")
		if now := table.Balancers[lb]; len(was.Members) != members || was.Members["m0"].State != desired.MemberActive || now.Members["m0"].State != desired.MemberDown || len(now.Members) != members {
			t.Errorf("of %d members %d were, the first %s; %d are, the first %s", members, len(was.Members), was.Members["m0"].State, len(now.Members), now.Members["m0"].State)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	if few, many := cost(250), cost(2000); many > 16*few {
		t.Errorf("250 members take %d bytes, 2000 take %d", few, many)
	}
}
