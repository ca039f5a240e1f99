// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/placement"
)

// FuzzTold: whatever another controller tells of a host is taken or refused; what is
// taken is of a connected host, and told again it is the same. Nothing that it says from
// before the host came settles anything.
func FuzzTold(f *testing.F) {
	report, err := proto.Marshal(&hoststream.Report{Ports: []*hoststream.PortReport{{Port: "p"}}})
	if err != nil {
		f.Fatal(err)
	}
	whole, err := json.Marshal(told{Controller: "c", Round: 3, Host: api.Ref{UUID: "h"}, AgentVersion: "1", InSync: true, RowErrors: map[string]string{"port/a": "bad"}, Report: report})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, uint64(3))
	f.Add([]byte(`{"controller":"c","round":4,"report":"AAAA"}`), uint64(3))
	f.Add([]byte(`{"round":-1}`), uint64(0))
	f.Add([]byte("null"), uint64(1))
	f.Fuzz(func(t *testing.T, text []byte, round uint64) {
		r := reached{Round: round, All: placement.Version{Revision: 7}}
		h, err := decodeTold("h", text, map[string]reached{"c": r})
		if err != nil {
			return
		}
		var d told
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("what was taken cannot be read: %v", err)
		}
		if settled := d.Controller == "c" && round >= d.Round; !h.state.Connected || h.controller != d.Controller || settled != (h.state.Settled == r.All) {
			t.Errorf("%s is taken as %+v", text, h)
		}
		written, err := json.Marshal(d)
		if err != nil {
			t.Fatalf("tell it again: %v", err)
		}
		again, err := decodeTold("h", written, map[string]reached{"c": r})
		if err != nil || !proto.Equal(again.state.Report, h.state.Report) {
			t.Fatalf("%s is taken as %+v (%v)", written, again, err)
		}
		again.state.Report = h.state.Report
		if len(h.state.RowErrors) == 0 {
			again.state.RowErrors = h.state.RowErrors // none, whether it is said or not
		}
		if !reflect.DeepEqual(again, h) {
			t.Errorf("%+v became %+v", h, again)
		}
	})
}
