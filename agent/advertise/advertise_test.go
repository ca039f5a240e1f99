// SPDX-License-Identifier: Apache-2.0

package advertise_test

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/advertise"
)

// The bytes, part by part as RFC 4861 and RFC 8106 draw them.
func TestMessage(t *testing.T) {
	subnet := netip.MustParsePrefix("fd00::/64")
	f := advertise.Facts{
		MAC: [6]byte{0, 0, 0x5e, 0, 1, 0}, MTU: 1400, Managed: true, Router: true,
		Prefixes: []advertise.Prefix{{Range: subnet, Time: time.Hour}},
		DNS:      []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, Search: []string{"p.internal"},
	}
	source, mtu := "010100005e000100", "0501000000000578"
	dns := "19030000" + "00000708" + "fd000000000000000000000000000001"
	names := "1f030000" + "00000708" + "017008696e7465726e616c0000000000"
	prefix := func(flags string) string {
		return "030440" + flags + "00000e1000000e1000000000" + "fd000000000000000000000000000000"
	}
	slaac := f
	slaac.Managed, slaac.Prefixes = false, []advertise.Prefix{{Range: subnet, Time: time.Hour, Autonomous: true}}
	stateless := slaac
	stateless.Other, stateless.DNS, stateless.Search, stateless.MTU = true, nil, nil, 0
	noRouter := stateless
	noRouter.Router = false
	renumbered := slaac
	renumbered.Prefixes, renumbered.DNS, renumbered.Search = nil, nil, []string{"q.internal"}
	ended := func(option string) string { return strings.Replace(option, "00000708", "00000000", 1) }
	over := strings.Replace(prefix("c0"), "00000e1000000e10", "0000000000000000", 1)
	for name, w := range map[string]struct {
		facts advertise.Facts
		want  string
	}{
		"no gateway": {noRouter, "86000000404000000000000000000000" + source + prefix("c0")},
		"renumbered": {*advertise.After(&slaac, &renumbered), "86000000400007080000000000000000" + source + mtu + over +
			ended(dns) + "1f030000" + "00000708" + "017108696e7465726e616c0000000000" + ended(names)},
		"goodbye":   {*advertise.After(&slaac, nil), "86000000400000000000000000000000" + source + over + ended(dns) + ended(names)},
		"first":     {*advertise.After(nil, &stateless), "86000000404007080000000000000000" + source + prefix("c0")},
		"as before": {*advertise.After(&slaac, &slaac), "86000000400007080000000000000000" + source + mtu + prefix("c0") + dns + names},
		"stateful":  {f, "8600000040c007080000000000000000" + source + mtu + prefix("80") + dns + names},
		"slaac":     {slaac, "86000000400007080000000000000000" + source + mtu + prefix("c0") + dns + names},
		"stateless": {stateless, "86000000404007080000000000000000" + source + prefix("c0")},
	} {
		if got := hex.EncodeToString(advertise.Message(w.facts)); got != w.want {
			t.Errorf("%s\n got %s\nwant %s", name, got, w.want)
		}
	}
}
