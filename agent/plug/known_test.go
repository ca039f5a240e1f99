// SPDX-License-Identifier: Apache-2.0

package plug_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/plug"
	"github.com/weft-network/weft/api/hoststream"
)

// A plug that waits for other hosts asks until those that are connected know of the
// workload, or its time is over, or nobody can tell; it is a success whatever comes of it.
func TestPlugWaitsForOtherHosts(t *testing.T) {
	late := &hoststream.KnownReply{Waiting: 1, Behind: []*hoststream.BehindHost{{Host: "h2", Why: "has not acknowledged it yet"}}}
	away := &hoststream.KnownReply{Behind: []*hoststream.BehindHost{{Host: "h3", Why: "not connected"}}}
	many := &hoststream.KnownReply{LeftOut: 5, Behind: away.Behind}
	type answer struct {
		reply *hoststream.KnownReply
		code  codes.Code
	}
	for _, c := range []struct {
		name    string
		wait    int
		alone   bool
		answers []answer // the last one again and again
		asked   int      // 0: not said
		known   bool
		behind  string
		message string
	}{
		{"not asked for", 0, false, []answer{{late, 0}}, 0, false, "", ""},
		{"at last", 30, false, []answer{{late, 0}, {nil, codes.Unavailable}, {away, 0}}, 3, true, "h3 (not connected)", ""},
		{"all", 30, false, []answer{{&hoststream.KnownReply{}, 0}}, 1, true, "", ""},
		{"more than are named", 30, false, []answer{{many, 0}}, 1, true, "h3 (not connected)", "5 more"},
		{"never", 1, false, []answer{{late, 0}}, 0, false, "h2 (has not acknowledged it yet)", ""},
		{"nobody answers", 1, false, []answer{{nil, codes.Unavailable}}, 0, false, "", "Unavailable"},
		{"an older controller", 30, false, []answer{{nil, codes.Unimplemented}}, 1, false, "", "upgrade"},
		{"it moved on", 30, false, []answer{{nil, codes.FailedPrecondition}}, 1, false, "", "FailedPrecondition"},
		{"no controller", 30, true, []answer{{late, 0}}, 0, false, "", "no controller is connected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := start(t, newLinks(), datapath.NewMemoryKernel(nil), t.TempDir(), 1)
			w.connected(!c.alone)
			asked := 0
			w.SetKnown(func(_ context.Context, port string, v desired.Version) (*hoststream.KnownReply, error) {
				if port != portID(1) || v != (desired.Version{Epoch: 1, Revision: 1}) {
					t.Errorf("asked about port %s and version %v", port, v)
				}
				a := c.answers[min(asked, len(c.answers)-1)]
				asked++
				if a.code != 0 {
					return nil, status.Error(a.code, "no")
				}
				return a.reply, nil
			})
			a, err := w.Plug(t.Context(), plug.Request{Port: portID(1), Place: inNetns("a"), WaitSeconds: c.wait})
			if err != nil {
				t.Fatal(err)
			}
			if c.wait == 0 || c.alone {
				if asked != 0 || (a.Spread != nil) != c.alone {
					t.Errorf("asked %d times: %+v", asked, a.Spread)
				}
			}
			if c.wait == 0 {
				return
			}
			var behind []string
			for _, b := range a.Spread.Behind {
				behind = append(behind, b.String())
			}
			if said := a.Spread.String(); !strings.HasPrefix(said, c.behind) || !strings.Contains(said, c.message) {
				t.Errorf("it says %q", said)
			}
			if c.asked != 0 && asked != c.asked || a.Spread.Known != c.known || strings.Join(behind, ", ") != c.behind || !strings.Contains(a.Spread.Message, c.message) || c.message == "" && a.Spread.Message != "" {
				t.Errorf("asked %d times: %+v", asked, a.Spread)
			}
		})
	}
}
