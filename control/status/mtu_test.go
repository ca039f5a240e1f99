// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"strings"
	"testing"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/stream"
	"github.com/weft-network/weft/control/world"
)

// A network says how large packets may be and why, and is warned about as soon
// as a host joins that carries less, until that is mended.
func TestMTUOfNetwork(t *testing.T) {
	s := newSystem(t, `host h1 192.0.2.1 mtu=1500
host h2 192.0.2.2 mtu=1500
network n 1
network big 2 1500
port n a
port n b
port big c`)
	network := func(name string) (int, string, string) {
		t.Helper()
		s.round()
		st := s.Get(api.KindNetwork, world.UUID(api.KindNetwork, name)).(*api.Network).Status
		for _, c := range st.Conditions {
			return st.MTU, st.MTUReason, c.Type + " " + c.Reason + " " + c.Message
		}
		return st.MTU, st.MTUReason, ""
	}
	for _, step := range []struct {
		edit, network string
		mtu           int
		why, warning  string
	}{
		{"", "n", 0, "", ""},
		{"bind a h1", "n", 1450, "what the underlay leaves: 1450 on h1 (underlay 1500 less 50 of the tunnel)", ""},
		{"bind b h2", "n", 1450, "on h1", ""},
		{"host h2 192.0.2.2 2001:db8::2 mtu=1500", "n", 1430, "less 70", "MTU hosts-differ workloads have different MTUs: 1430 on h2 (underlay 1500 less 70 of the tunnel), 1450 on h1 (underlay 1500 less 50 of the tunnel); give the network mtu 1430"},
		{"network n 1 1400", "n", 1400, "the network's mtu", ""},
		{"network n 1", "n", 1430, "what the underlay leaves", "MTU hosts-differ"},
		{"host h2 2001:db8::2 mtu=1300", "n", 1230, "on h2", "MTU below-ipv6-minimum IPv6 needs 1280"},
		{"host h2 192.0.2.2 mtu=1500", "n", 1450, "on h1", ""},
		{"bind c h1", "big", 1450, "the network's mtu is 1500; the underlay leaves 1450", "MTU larger-than-underlay the network's mtu is 1500, and the underlay leaves less: 1450 on h1"},
		{"host h1 192.0.2.1 mtu=1550", "big", 1500, "the network's mtu; the underlay leaves 1500", ""},
		{"remove binding c:h1", "big", 0, "", ""},
	} {
		s.Do(step.edit)
		mtu, why, warning := network(step.network)
		if mtu != step.mtu || !strings.Contains(why, step.why) || !strings.HasPrefix(warning, step.warning) || (step.warning == "") != (warning == "") {
			t.Errorf("after %q network %s: %d %q, warning %q; want %d %q, %q", step.edit, step.network, mtu, why, warning, step.mtu, step.why, step.warning)
		}
	}
}

// A host says that its underlay is too small, and which tables are full, while
// that is so.
func TestConditionsOfHost(t *testing.T) {
	s := newSystem(t, "host h1 192.0.2.1 mtu=1300")
	conditions := func() string {
		t.Helper()
		s.round()
		var all []string
		for _, c := range s.Get(api.KindHost, h1).(*api.Host).Status.Conditions {
			if c.Status || c.Since.IsZero() {
				t.Errorf("condition %+v", c)
			}
			all = append(all, c.Type+" "+c.Reason+" "+c.Message)
		}
		return strings.Join(all, "\n")
	}
	tables := func(all ...*hoststream.TableUse) {
		s.host("h1", func(h *stream.HostState) { connect(h); h.Report = &hoststream.Report{Tables: all} })
	}
	if got := conditions(); !strings.HasPrefix(got, "MTU below-ipv6-minimum the underlay's MTU of 1300 leaves 1250 for workloads, less than the 1280 that IPv6 needs: raise it to 1330") {
		t.Errorf("a small underlay: %s", got)
	}
	s.Do("host h1 192.0.2.1 mtu=1330")
	tables(&hoststream.TableUse{Table: "ports", Size: 1024}, &hoststream.TableUse{Table: "host_routes", Size: 7, Full: true})
	if got := conditions(); !strings.HasPrefix(got, "Capacity table-full ports is more than nine tenths full, of 1024 entries; host_routes is full: it holds 7 entries; ") || strings.Contains(got, "\n") {
		t.Errorf("a full table: %s", got)
	}
	tables(&hoststream.TableUse{Table: "ports", Size: 1024})
	if got := conditions(); !strings.HasPrefix(got, "Capacity table-nearly-full ports") {
		t.Errorf("a nearly full table: %s", got)
	}
	tables()
	if got := conditions(); got != "" {
		t.Errorf("all is well: %s", got)
	}
}
