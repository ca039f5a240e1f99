// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestSubnetServices(t *testing.T) {
	for spec, want := range map[string]string{
		`{"cidr":"10.0.0.0/24","dnsServers":["192.0.2.1"],"hostRoutes":[{"destination":"10.9.0.0/16","nextHop":"10.0.0.9"}],"leaseSeconds":60}`: "",
		`{"cidr":"10.0.0.0/24","addressMode":"slaac"}`:                                                            "spec.addressMode",
		`{"cidr":"fd00::/80","addressMode":"slaac"}`:                                                              "spec.addressMode",
		`{"cidr":"fd00::/80","addressMode":"stateful"}`:                                                           "",
		`{"cidr":"fd00::/64","hostRoutes":[{"destination":"fd09::/64","nextHop":"fd00::9"}]}`:                     "spec.hostRoutes[0].destination",
		`{"cidr":"10.0.0.0/24","hostRoutes":[{"destination":"10.9.0.0/16","nextHop":"10.1.0.9"}]}`:                "spec.hostRoutes[0].nextHop",
		`{"cidr":"10.0.0.0/24","leaseSeconds":59}`:                                                                "spec.leaseSeconds",
		`{"cidr":"10.0.0.0/24","searchDomains":["good.example.","bad..example"]}`:                                 "spec.searchDomains[1]",
		`{"cidr":"10.0.0.0/24","dhcpOptions":[{"option":"mtu","value":"1400"},{"option":"51","value":"hex:00"}]}`: "spec.dhcpOptions[1]",
	} {
		if got := strings.Join(problemsOf(t, specOf(KindSubnet, spec)), " "); got != want {
			t.Errorf("%s: problems in %q, want %q", spec, got, want)
		}
	}
	network := specOf(KindNetwork, `{"services":[{"name":"a","address":"169.254.1.1","port":80},{"name":"b","address":"169.254.1.1","port":80},{"name":"c","address":"224.0.0.1","port":70000}]}`)
	if got := strings.Join(problemsOf(t, network), " "); got != "spec.services[2].port spec.services[1] spec.services[2].address" {
		t.Errorf("services of a network: problems in %q", got)
	}
}

// Options are written by name or number and travel as bytes.
func TestDHCPOptionEncode(t *testing.T) {
	for _, w := range []struct {
		option, value string
		family        Family
		code          int
		want          string // hexadecimal, or error
	}{
		{"tftp-server", "a", "", 66, "61"}, {"MTU", "1400", IPv4, 26, "0578"}, {"26", "1400", IPv4, 26, "0578"},
		{"ntp-server", "10.0.0.1, 10.0.0.2", "", 42, "0a0000010a000002"}, {"time-offset", "3600", "", 2, "00000e10"},
		{"ntp-server", "fd00::1", IPv6, 31, "fd000000000000000000000000000001"}, {"bootfile-url", "x", IPv6, 59, "78"},
		{"200", "hex:00:ff", "", 200, "00ff"}, {"200", "text", "", 200, "74657874"},
		{"mtu", "70000", "", 0, "error"}, {"ntp-server", "fd00::1", "", 0, "error"}, {"no-such", "1", "", 0, "error"},
		{"255", "x", "", 0, "error"}, {"3", "10.0.0.1", "", 0, "error"}, {"200", "", "", 0, "error"}, {"200", "hex:0", "", 0, "error"},
		{"200", strings.Repeat("x", 256), "", 0, "error"}, {"23", "fd00::1", IPv6, 0, "error"},
	} {
		code, value, err := DHCPOption{Option: w.option, Value: w.value, Family: w.family}.Encode()
		got := hex.EncodeToString(value)
		if err != nil {
			got = "error"
		}
		if code != w.code || got != w.want {
			t.Errorf("%s %q %s: %d %s, want %d %s (%v)", w.option, w.value, w.family, code, got, w.code, w.want, err)
		}
	}
}
