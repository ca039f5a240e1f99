// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/agent/host"
	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// A host that is newer than the backup its store was restored from takes the
// restored state, because of its epoch, and never again what came before. A
// port of the lost history stays plugged; its traffic is stopped, it is told of,
// and its address serves the port that has it now, even on the same host.
func TestRestoredStoreIsOlderThanTheHost(t *testing.T) {
	m := datapath.NewMemoryKernel(nil)
	c := boot(t, m, desired.New(), nil)
	now := time.Unix(0, 0)
	apply := func(epoch uint64, revision int64, put map[string]*hoststream.Row, deleted ...string) error {
		d := delta(map[string]string{}, put, revision, true)
		d.Version.Epoch, d.Delete = epoch, deleted
		err := c.Apply(d)
		c.Round(t.Context(), now)
		return err
	}
	kept, lost, later := portID(1), portID(2), portID(3)
	if err := apply(1, 9, map[string]*hoststream.Row{"port/" + kept: row(kept, 1), "port/" + lost: row(lost, 2)}); err != nil {
		t.Fatal(err)
	}
	c.SetPlug(kept, host.Plug{Interface: "wf1", Attachment: datapath.Attachment{Ifindex: 4}})
	c.SetPlug(lost, host.Plug{Interface: "wf2", Attachment: datapath.Attachment{Ifindex: 5}})
	c.Round(t.Context(), now)
	if len(m.Ports.Rows) != 2 || len(c.Report().Warnings) != 0 {
		t.Fatalf("before the restore: %v\n%s", c.Report().Warnings, show(m))
	}
	// The restored store does not have the lost port, and gives its address away.
	if err := apply(2, 5, map[string]*hoststream.Row{"port/" + later: row(later, 2)}, "port/"+lost); err != nil {
		t.Fatal(err)
	}
	c.SetPlug(later, host.Plug{Interface: "wf3", Attachment: datapath.Attachment{Ifindex: 6}})
	c.Round(t.Context(), now)
	if _, there := m.Ports.Rows[5]; there || len(m.Ports.Rows) != 2 {
		t.Errorf("the lost port still sends:\n%s", show(m))
	}
	if w := c.Report().Warnings; len(w) != 1 || !strings.Contains(w[0], lost) || !strings.Contains(w[0], "its traffic is stopped") {
		t.Errorf("warnings %q", w)
	}
	for _, p := range []string{kept, later} {
		if state, why := c.PortState(p); state != api.PortUp {
			t.Errorf("port %s is %s: %s", p, state, why)
		}
	}
	if err := apply(2, 6, map[string]*hoststream.Row{"port/" + lost: row(lost, 7)}); err != nil {
		t.Fatal(err)
	}
	if state, why := c.PortState(lost); state != api.PortUp || len(c.Report().Warnings) != 0 {
		t.Errorf("made again, the lost port is %s: %s", state, why)
	}
	if err := apply(1, 10, map[string]*hoststream.Row{"port/" + lost: row(lost, 2)}); !errors.Is(err, desired.ErrOlder) {
		t.Errorf("what an old controller says: %v", err)
	}
}
