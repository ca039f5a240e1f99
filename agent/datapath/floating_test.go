// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// A floating address of a port here is mapped to it while it is plugged; else what
// is for it follows no shorter route, and is never the workload's untranslated.
func TestFloatingAddressesAreMapped(t *testing.T) {
	for _, internal := range []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("2001:db8::5")} {
		floating := map[bool]netip.Addr{true: netip.MustParseAddr("198.51.100.9"), false: netip.MustParseAddr("2001:db8:f::9")}[internal.Is4()]
		table := desired.New()
		row := &hoststream.Row{Body: &hoststream.Row_Route{Route: &hoststream.Route{
			Vrf: 7, PrefixAddress: floating.AsSlice(), PrefixLength: uint32(floating.BitLen()), Mac: []byte{2, 0, 0, 0, 0, 1}, Proxied: true,
			NextHop: &hoststream.Route_Mapped{Mapped: &hoststream.Mapped{Port: "p", Internal: internal.AsSlice(), Vrf: 9}},
		}}}
		of := desired.RouteKey{VRF: 7, Prefix: netip.PrefixFrom(floating, floating.BitLen())}
		key := desired.RouteRow(of)
		put := func() string {
			body, err := proto.Marshal(row)
			if err == nil {
				err = table.Apply(&hoststream.Delta{Version: &hoststream.Version{Epoch: 1}, Put: []*hoststream.EncodedRow{{Key: key, Body: body}}})
			}
			if err != nil {
				t.Fatal(err)
			}
			return table.Bad[key]
		}
		if why := put(); why != "" {
			t.Fatal(why)
		}
		rows := table.Rows
		if got, want := rows.Routes[of].Mapped, (desired.Mapped{Port: "p", VRF: 9, Internal: internal}); got != want {
			t.Errorf("the row says %+v, want %+v", got, want)
		}
		rows.Ports = map[string]desired.Port{"p": {ID: "p", VRF: 3}}
		for _, plugged := range []bool{false, true} {
			attached := map[string]datapath.Attachment{}
			if plugged {
				attached["p"] = datapath.Attachment{Ifindex: 5}
			}
			tables := datapath.Compute(rows, attached, datapath.Underlay{MTU: 1500}, datapath.Local{Balances: true})
			hop := tables.Routes[vrouter.RouteKey{VRF: of.VRF, Prefix: of.Prefix}].NextHop
			if !plugged {
				if hop.Kind != vrouter.NextHopNone || len(tables.Floating.Mappings)+len(tables.Floating.Floats) > 0 {
					t.Errorf("%v leads to %+v, and there are %+v", floating, hop, tables.Floating)
				}
				continue
			}
			want := vrouter.Mapping{Ifindex: 5, VRF: 9, External: netip.AddrPortFrom(floating, 0), Internal: netip.AddrPortFrom(internal, 0)}
			if m := tables.Floating.Mappings[hop.Mapping]; hop.Kind != vrouter.NextHopMapped || m != want || hop.Mapping == 0 {
				t.Errorf("%v leads to %+v, of mapping %+v", floating, hop, m)
			}
			float := vrouter.Float{Mappings: [vrouter.MaxFloats]uint64{hop.Mapping}}
			if got := tables.Floating.Floats; !maps.Equal(got, map[vrouter.FloatKey]vrouter.Float{{Ifindex: 5, Internal: internal}: float}) {
				t.Errorf("%v is sent through %+v", internal, got)
			}
			if tables.Ports[5].Aliases || len(tables.PortAddresses[5]) > 0 {
				t.Errorf("the port may send from %v", tables.PortAddresses[5])
			}
		}
		// The address of another family is no floating address's.
		row.GetRoute().GetMapped().Internal = netip.MustParseAddr(map[bool]string{true: "::1", false: "10.0.0.1"}[floating.Is4()]).AsSlice()
		if why := put(); why == "" {
			t.Errorf("a row that maps %v to another family was taken", floating)
		}
	}
}

// floatingRows are ports with floating addresses of two networks, one of them an
// alias, and one of them leaked; which there are is chance.
func floatingRows(random func(n int) int) (desired.Rows, map[string]datapath.Attachment) {
	rows := desired.New().Rows
	attached := map[string]datapath.Attachment{}
	for i, id := range []string{"a", "b", "c"} {
		if random(4) == 0 {
			continue
		}
		rows.Ports[id] = desired.Port{ID: id, VRF: 3, Addresses: []desired.Address{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 24)}}}
		attached[id] = datapath.Attachment{Ifindex: 5 + i}
	}
	for i := range 12 {
		if random(3) == 0 {
			continue
		}
		port := random(3)
		external := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})
		m := desired.Mapped{Port: []string{"a", "b", "c"}[port], VRF: uint32(7 + i%2), Internal: netip.AddrFrom4([4]byte{10, 0, 0, byte(port)})}
		if i%3 == 0 {
			m.Alias, m.Internal = true, external
		}
		for vrf := range uint32(1 + i%2) {
			rows.Routes[desired.RouteKey{VRF: m.VRF + 10*vrf, Prefix: netip.PrefixFrom(external, 32)}] = desired.Route{Mapped: m}
		}
	}
	return rows, attached
}

// What is sent outward goes by the first of equals, by VRF and address; an alias only
// by itself, and its workload may send from it.
func TestFloatingAddressesAreInOrder(t *testing.T) {
	rows, attached := floatingRows(func(n int) int { return n - 1 }) // all of c
	tables := datapath.Compute(rows, attached, datapath.Underlay{MTU: 1500}, datapath.Local{})
	var got []netip.Addr
	for _, number := range tables.Floating.Floats[vrouter.FloatKey{Ifindex: 7, Internal: netip.MustParseAddr("10.0.0.2")}].Mappings {
		if m, there := tables.Floating.Mappings[number]; there {
			got = append(got, m.External.Addr())
		}
	}
	var want []netip.Addr
	for _, i := range []byte{2, 4, 8, 10, 1, 5, 7, 11} {
		want = append(want, netip.AddrFrom4([4]byte{198, 51, 100, i}))
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("through %v, want %v", got, want)
	}
	alias := netip.MustParseAddr("198.51.100.3")
	number := tables.Floating.Floats[vrouter.FloatKey{Ifindex: 7, Internal: alias}].Alias
	if m := tables.Floating.Mappings[number]; m.External.Addr() != alias || m.Internal.Addr() != alias || m.VRF != 8 {
		t.Errorf("the alias is %+v", m)
	}
	if !tables.Ports[7].Aliases || tables.Ports[6].Aliases || len(tables.PortAddresses[7]) != 5 {
		t.Errorf("the port has aliases %t, the other one %t, and may send from %v", tables.Ports[7].Aliases, tables.Ports[6].Aliases, tables.PortAddresses[7])
	}
}

// An address that goes to another port, or to another address of it, has another
// number: entries of the former one do not count any more.
func TestFloatingNumbers(t *testing.T) {
	numbers := map[uint64]bool{}
	for _, m := range []desired.Mapped{
		{Port: "a", VRF: 7, Internal: netip.MustParseAddr("10.0.0.1")}, {Port: "b", VRF: 7, Internal: netip.MustParseAddr("10.0.0.1")},
		{Port: "a", VRF: 8, Internal: netip.MustParseAddr("10.0.0.1")}, {Port: "a", VRF: 7, Internal: netip.MustParseAddr("10.0.0.2")},
	} {
		for _, vrf := range []uint32{7, 17} { // of one that is leaked it is the same
			rows := desired.New().Rows
			rows.Ports[m.Port] = desired.Port{ID: m.Port, VRF: 3}
			rows.Routes[desired.RouteKey{VRF: vrf, Prefix: netip.MustParsePrefix("198.51.100.1/32")}] = desired.Route{Mapped: m}
			for number := range datapath.Compute(rows, map[string]datapath.Attachment{m.Port: {Ifindex: 5}}, datapath.Underlay{}, datapath.Local{}).Floating.Mappings {
				numbers[number] = true
			}
		}
	}
	if len(numbers) != 4 {
		t.Errorf("%d numbers of 4 mappings", len(numbers))
	}
}

// An alias is sent from when there is what it goes by.
func TestAliasesHaveTheirMappingFirst(t *testing.T) {
	rows, attached := floatingRows(func(n int) int { return n - 1 })
	k := datapath.NewMemoryKernel(nil)
	aliases := 0
	k.PortAddresses.Check = func(key vrouter.PortAddress, _ struct{}, _ bool) {
		from := vrouter.FloatKey{Ifindex: key.Ifindex, Internal: key.Address}
		if key.Address.Compare(netip.MustParseAddr("198.51.100.0")) < 0 {
			return
		}
		if aliases++; k.Floats.Rows[from].Alias == 0 {
			t.Errorf("alias %v may send before its mapping is there", key)
		}
	}
	p := datapath.NewProgrammer(k.Kernel())
	p.Want(datapath.Compute(rows, attached, datapath.Underlay{MTU: 1500}, datapath.Local{}))
	p.Round(t.Context(), time.Now())
	if !p.Settled() || aliases != 4 {
		t.Errorf("settled %t, with %d aliases", p.Settled(), aliases)
	}
}

// Whatever fails, and wherever the agent was started anew: nothing is in the kernel
// before what it refers to, or after it, and in the end all is there and nothing else.
func TestFloatingAddressesComeIntoTheKernel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	k := datapath.NewMemoryKernel(random)
	ordered(t, k)
	now := time.Now()
	var p *datapath.Programmer
	for range 60 {
		if p == nil || random.IntN(4) == 0 {
			p = datapath.NewProgrammer(k.Kernel())
			for p.Load(t.Context()) != nil {
			}
		}
		rows, attached := floatingRows(random.IntN)
		want := datapath.Compute(rows, attached, datapath.Underlay{MTU: 1500}, datapath.Local{})
		p.Want(want)
		p.Sweep()
		for range 10000 {
			p.Round(t.Context(), now)
			if now = now.Add(time.Hour); p.Settled() {
				break
			}
		}
		if !p.Settled() {
			t.Fatal("it never settles")
		}
		if !maps.Equal(k.Mappings.Rows, want.Floating.Mappings) || !maps.Equal(k.Floats.Rows, want.Floating.Floats) {
			t.Fatalf("the kernel has mappings %+v and floats %+v, want %+v", k.Mappings.Rows, k.Floats.Rows, want.Floating)
		}
		for _, a := range attached {
			if p.InterfaceFree(a.Ifindex) {
				t.Fatalf("interface %d is free", a.Ifindex)
			}
		}
		for i := range 3 {
			if _, there := want.Ports[5+i]; !there && !p.InterfaceFree(5+i) {
				t.Fatalf("interface %d is not free", 5+i)
			}
		}
	}
}
