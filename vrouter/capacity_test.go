// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

// The use that is shown is what was written, up to the last entry there is room for.
func TestCapacity(t *testing.T) {
	sizes := smallSizes
	sizes.TunnelSources = 6
	d := loadForTest(t, sizes)
	o := tenants()
	install(t, d, o)
	usage := func() map[string]Usage {
		all, err := d.Capacity()
		check(t, err)
		byName := map[string]Usage{}
		for _, u := range all {
			byName[u.Table] = u
		}
		return byName
	}
	u := usage()
	for table, want := range map[string]int{
		"ports": len(o.Ports), "port_addresses": len(o.PortAddresses), "host_routes": len(o.Routes), "routes4": 0,
		"next_hops": len(o.NextHops), "vnis": len(o.VNIs), "tunnel_sources": len(o.TunnelSources), "connections": 0,
	} {
		if got := u[table]; int(got.Used) != want || got.Full() || want > 0 && got.Bytes == 0 {
			t.Errorf("table %s: %+v, want %d used", table, got, want)
		}
	}
	var refused error
	for n := range 3 {
		refused = d.TunnelSources.Put(TunnelSource{1001, netip.AddrFrom4([4]byte{198, 51, 100, byte(n)})}, struct{}{})
	}
	if got := usage()["tunnel_sources"]; refused == nil || !got.Full() || got.Used != got.Size || got.Size != 6 {
		t.Errorf("full table: %+v, last entry refused with %v", got, refused)
	}
}

// Whoever is on call finds in doc/dropped.md, for every table that can fill up, what
// is left out then and what counts it.
func TestEveryTableSaysWhatItLeavesOut(t *testing.T) {
	page, err := os.ReadFile("../doc/dropped.md")
	check(t, err)
	_, section, _ := strings.Cut(string(page), "\n## Tables\n")
	section, _, _ = strings.Cut(section, "\n## ")
	all, err := tablesForTest(t, smallSizes).Capacity()
	check(t, err)
	for _, u := range all {
		if !u.Fixed && !strings.Contains(section, "`"+u.Table+"`") {
			t.Errorf("doc/dropped.md, Tables, does not say what happens when table %s is full", u.Table)
		}
	}
}
