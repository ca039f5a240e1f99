// SPDX-License-Identifier: Apache-2.0

package desired_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
)

func row(t *testing.T, key string, r *hoststream.Row) *hoststream.EncodedRow {
	t.Helper()
	body, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return &hoststream.EncodedRow{Key: key, Body: body}
}

func world(t *testing.T) *hoststream.Delta {
	six := make([]byte, 16)
	six[0], six[15] = 0xfd, 1
	return &hoststream.Delta{
		Version: &hoststream.Version{Epoch: 2, Revision: 7}, Sequence: 1, InSync: true,
		Put: []*hoststream.EncodedRow{
			row(t, "vrf/5", &hoststream.Row{Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: 5, Vni: 5, SourcesListed: true}}}),
			row(t, "tunnel-endpoint/h", &hoststream.Row{Body: &hoststream.Row_TunnelEndpoint{TunnelEndpoint: &hoststream.TunnelEndpoint{Host: "h", Addresses: [][]byte{{192, 0, 2, 1}, six}}}}),
			row(t, "tunnel-source/5/h", &hoststream.Row{Body: &hoststream.Row_TunnelSource{TunnelSource: &hoststream.TunnelSource{Vni: 5, Host: "h"}}}),
			row(t, "port/p", &hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{Port: "p", PortName: "d:p:p", Vrf: 5, Mac: make([]byte, 6), Addresses: []*hoststream.PortAddress{{Ip: six, PrefixLength: 64}}}}}),
			row(t, "route/5/fd00::1/128", &hoststream.Row{Body: &hoststream.Row_Route{Route: &hoststream.Route{Vrf: 5, PrefixAddress: six, PrefixLength: 128, Mac: make([]byte, 6), NextHop: &hoststream.Route_Port{Port: "p"}}}}),
			row(t, "route/5/10.0.0.1/32", &hoststream.Row{Body: &hoststream.Row_Route{Route: &hoststream.Route{Vrf: 5, PrefixAddress: []byte{10, 0, 0, 1}, PrefixLength: 32, NextHop: &hoststream.Route_Gateway{}}}}),
			// What this build cannot read is kept for its hash and reported:
			row(t, "later/1", &hoststream.Row{}),
			row(t, "tunnel-source/6/h", &hoststream.Row{Body: &hoststream.Row_TunnelSource{TunnelSource: &hoststream.TunnelSource{Vni: 5, Host: "h"}}}),
			row(t, "vrf/6", &hoststream.Row{Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: 7}}}),
			row(t, "route/5/10.0.0.2/24", &hoststream.Row{Body: &hoststream.Row_Route{Route: &hoststream.Route{Vrf: 5, PrefixAddress: []byte{10, 0, 0, 2}, PrefixLength: 24}}}),
			row(t, "port/q", &hoststream.Row{Body: &hoststream.Row_Port{Port: &hoststream.Port{Port: "q", Mac: []byte{1}}}}),
			{Key: "vrf/8", Body: []byte{0xff}},
		},
	}
}

func TestApply(t *testing.T) {
	table, d := desired.New(), world(t)
	if err := table.Apply(d); err != nil {
		t.Fatal(err)
	}
	if len(table.VRFs) != 1 || len(table.Endpoints["h"].Addresses) != 2 || len(table.Ports) != 1 || len(table.Routes) != 2 || len(table.Bad) != 5 || len(table.Unknown) != 1 || len(table.Sources) != 1 || !table.VRFs[5].SourcesListed || !table.InSync() {
		t.Errorf("rows: %+v", table.Rows)
	}
	if p, ok := table.FindPort("d:p:p"); !ok || p.ID != "p" {
		t.Errorf("port by name: %+v", p)
	}
	hashes := table.Hashes()
	if len(hashes) != len(d.Put) || hashes[0].Key != "later/1" || hashes[0].Hash != xxhash.Sum64(d.Put[6].Body) {
		t.Errorf("hashes: %v", hashes)
	}
	all := &hoststream.Delta{Version: d.Version}
	for _, r := range d.Put {
		all.Delete = append(all.Delete, r.Key)
	}
	if err := table.Apply(all); err != nil || !reflect.DeepEqual(table.Rows, desired.New().Rows) || table.Len() != 0 {
		t.Errorf("after deleting all: %+v %v", table.Rows, err)
	}
}

// A file gives back the rows and their version, but not that they are complete.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "desired")
	if empty, err := desired.Open(path); err != nil || empty.Len() != 0 {
		t.Errorf("no file: %v", err)
	}
	table := desired.New()
	if err := table.Apply(world(t)); err != nil {
		t.Fatal(err)
	}
	data, err := table.Encode()
	if err == nil {
		err = desired.WriteFile(path, data)
	}
	if err != nil {
		t.Fatal(err)
	}
	back, err := desired.Open(path)
	if err != nil || back.Version() != table.Version() || !reflect.DeepEqual(back.Rows, table.Rows) || back.InSync() {
		t.Errorf("read back: %+v %v", back, err)
	}
	for _, damage := range [][]byte{data[:len(data)-1], append([]byte("x"), data...), {}, append(data[:len(data):len(data)], 0)} {
		if err := os.WriteFile(path, damage, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := desired.Open(path); !errors.Is(err, desired.ErrDamaged) {
			t.Errorf("damaged file: %v", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) != 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}
