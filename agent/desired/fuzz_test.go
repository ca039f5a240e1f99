// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/weft-network/weft/api/hoststream"
	"google.golang.org/protobuf/proto"
)

// someRows are one of each kind, by key.
func someRows() map[string]*hoststream.Row {
	mac := []byte{2, 0, 0, 0, 0, 1}
	return map[string]*hoststream.Row{
		"vrf/5":             {Body: &hoststream.Row_Vrf{Vrf: &hoststream.Vrf{Vrf: 5, Vni: 1005, Network: "n"}}},
		"tunnel-endpoint/h": {Body: &hoststream.Row_TunnelEndpoint{TunnelEndpoint: &hoststream.TunnelEndpoint{Host: "h", Addresses: [][]byte{{192, 0, 2, 1}}}}},
		"tunnel-source/5/h": {Body: &hoststream.Row_TunnelSource{TunnelSource: &hoststream.TunnelSource{Vni: 5, Host: "h"}}},
		"port/p":            {Body: &hoststream.Row_Port{Port: &hoststream.Port{Port: "p", Vrf: 5, Mac: mac}}},
		"ruleset/r": {Body: &hoststream.Row_Ruleset{Ruleset: &hoststream.Ruleset{Ruleset: "r", Outside: "deny", Identified: "deny", Rules: []*hoststream.Rule{
			{Kind: "security-group-rule", Action: "pass", Remote: &hoststream.Rule_Selected{Selected: &hoststream.Selected{Selectors: []string{"s"}}},
				Services: []*hoststream.RuleService{{Family: 4, Protocol: proto.Uint32(6), Ports: &hoststream.NumberRange{First: 80, Last: 90}}}},
			{Kind: "security-group-rule", Action: "pass", Remote: &hoststream.Rule_Ranges{Ranges: &hoststream.Ranges{Ranges: []*hoststream.Prefix{{Address: []byte{10, 0, 0, 0}, Length: 8}}}}},
		}}}},
		"selector/s":         {Body: &hoststream.Row_Selector{Selector: &hoststream.Selector{Selector: "s", Identities: []uint64{5, 7}}}},
		"listener/5/lb/i":    {Body: &hoststream.Row_Listener{Listener: &hoststream.Listener{Vrf: 5, LoadBalancer: "lb", Listener: "i", Addresses: [][]byte{{10, 0, 0, 9}}, Protocol: 6, Port: 80}}},
		"member/5/lb/m":      {Body: &hoststream.Row_Member{Member: &hoststream.Member{Vrf: 5, LoadBalancer: "lb", Member: "m", Addresses: [][]byte{{10, 0, 0, 5}}, TargetPort: 80, Mac: []byte{10, 0, 0, 0, 0, 1}}}},
		"route/5/10.0.0.0/8": {Body: &hoststream.Row_Route{Route: &hoststream.Route{Vrf: 5, PrefixAddress: []byte{10, 0, 0, 0}, PrefixLength: 8, NextHop: &hoststream.Route_Discard{Discard: &hoststream.Discard{}}}}},
	}
}

func encoded(t testing.TB, r *hoststream.Row) []byte {
	t.Helper()
	body, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// FuzzRow: whatever a controller sends as a row, it is under one key in one
// table, or bad, or unknown; taken back it leaves nothing, and rows of other
// keys are not touched.
func FuzzRow(f *testing.F) {
	before := newRows()
	for key, r := range someRows() {
		body := encoded(f, r)
		f.Add(key, body)
		f.Add(key+"x", body)
		before.put(key, body)
	}
	f.Add("reservation/a", []byte{})
	f.Fuzz(func(t *testing.T, key string, body []byte) {
		if _, ours := someRows()[key]; ours {
			return
		}
		r := newRows()
		for k, row := range someRows() {
			r.put(k, encoded(t, row))
		}
		r.put(key, body)
		if had, has := count(before), count(r); has != had+1 {
			t.Errorf("%d rows and another are %d", had, has)
		}
		r.remove(key)
		if !reflect.DeepEqual(r, before) {
			t.Errorf("after row %q came and went there is %+v, want %+v", key, r, before)
		}
	})
}

// count is how many rows all tables have.
func count(r Rows) (n int) {
	tables := reflect.ValueOf(r)
	for i := range tables.NumField() {
		if field := tables.Type().Field(i); field.IsExported() && field.Name != "Balancers" {
			n += tables.Field(i).Len()
		}
	}
	for _, b := range r.Balancers {
		n += len(b.Listeners) + len(b.Members)
	}
	return n
}

// FuzzFile: a file that is read says the same when it is written again.
func FuzzFile(f *testing.F) {
	table := New()
	d := &hoststream.Delta{Version: &hoststream.Version{Epoch: 1, Revision: 7}}
	for key, r := range someRows() {
		d.Put = append(d.Put, &hoststream.EncodedRow{Key: key, Body: encoded(f, r)})
	}
	if err := table.Apply(d); err != nil {
		f.Fatal(err)
	}
	whole, err := table.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, false)
	f.Add(whole[headLength:], true)
	f.Add(whole[:20], false)
	f.Fuzz(func(t *testing.T, data []byte, sign bool) {
		if sign { // or else the checksum stops everything
			head := binary.BigEndian.AppendUint64([]byte(magic), xxhash.Sum64(data))
			data = append(head, data...)
		}
		read, err := decode(data)
		if err != nil {
			return
		}
		first, err := read.Encode()
		if err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		again, err := decode(first)
		if err != nil {
			t.Fatalf("read what was written: %v", err)
		}
		if second, err := again.Encode(); err != nil || !bytes.Equal(first, second) {
			t.Errorf("written again it is another file (%v)", err)
		}
	})
}
