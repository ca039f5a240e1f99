// SPDX-License-Identifier: Apache-2.0

package records

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weft-network/weft/agent/frame"
	"github.com/weft-network/weft/api"
)

// FuzzPacket: whatever a workload sends is read as far as it goes. What is read of its
// first bytes is read of the whole, too; a later fragment has no ports; and where the
// frame's other reader finds UDP, both find the same.
func FuzzPacket(f *testing.F) {
	four := frame.Packet{From: netip.MustParseAddr("10.0.0.1"), To: netip.MustParseAddr("10.0.0.2"), UDP: true, SourcePort: 68, DestinationPort: 67, Payload: []byte("abc")}
	six := frame.Packet{From: netip.MustParseAddr("fd00::1"), To: netip.MustParseAddr("fd00::2"), UDP: true, SourcePort: 546, DestinationPort: 547}
	for _, b := range [][]byte{four.Build(), six.Build(), frame.Tag(four.Build(), 5), {12: 8, 13: 6, 41: 0}, {12: 0x81, 13: 0}} {
		f.Add(b, uint16(len(b)-3))
	}
	later := four.Build()
	later[21] = 9 // eights of bytes on
	f.Add(later, uint16(40))
	extended := six.Build()
	extended[20] = 44
	f.Add(extended, uint16(60))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		p := parse(b)
		if p.Later && (p.SourcePort != 0 || p.DestinationPort != 0 || p.Flags != 0) || p.Flags != 0 && p.Protocol != protocolTCP {
			t.Errorf("%x reads as %+v", b, p)
		}
		if p.Family != 0 && (!p.From.IsValid() || p.From.Is4() != (p.Family == 4) || p.From.Is4() != p.To.Is4()) {
			t.Errorf("%x is of family %d from %v to %v", b, p.Family, p.From, p.To)
		}
		q := parse(b[:int(cut)%(len(b)+1)])
		if q.Family != 0 && (q.Family != p.Family || q.From != p.From || q.To != p.To) || q.SourcePort != 0 && q.SourcePort != p.SourcePort ||
			q.DestinationPort != 0 && q.DestinationPort != p.DestinationPort || q.Flags != 0 && q.Flags != p.Flags || q.Later && !p.Later {
			t.Errorf("the first bytes of %x read as %+v, the whole as %+v", b, q, p)
		}
		if o, err := frame.Parse(b); err == nil && o.UDP && !p.Later && (o.From != p.From || o.To != p.To || o.SourcePort != p.SourcePort || o.DestinationPort != p.DestinationPort) {
			t.Errorf("%x reads as %+v, and as %+v", b, p, o)
		}
	})
}

// FuzzCollector: what is taken as the place of a collector is of a known transport,
// and written again it is the same.
func FuzzCollector(f *testing.F) {
	for _, s := range []string{"udp://192.0.2.1:4739", "tcp://[2001:db8::1]:4739", "udp://collector.example:4739", "udp://:1", "udp://a:0", "udp://a:99999", "http://a:1", "udp://1.2.3.4:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := parseCollector(text)
		if ok && (c.network != "udp" && c.network != "tcp" || c.network+"://"+c.address != text) {
			t.Errorf("%q is %+v", text, c)
		}
	})
}

// FuzzFilter: what is taken as a choice of records is kept as records have it, so that
// it reads as itself, and there is a record that it means.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		"project=d:p", "network=d:p:n", "port=d:p:n", "port=5F0C3A6E-3C1C-4B8A-9C43-1F0D2D3F4A5B", "rule=d:p:np, rule 2", "rule={9e107d9d-372b-4a1c-8f3d-2b6c5a4e1f00}",
		"tag=tier=web", "verdict=passed", "protocol=tcp", "protocol=017", "protocol=ethertype-88CC", "protocol=ethertype-zz", "project=a:b:c", "network=a::c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, word string) {
		chosen, err := ParseFilter([]string{word})
		if err != nil {
			return
		}
		for key, values := range chosen.values {
			v := values[0]
			if again, err := ParseFilter([]string{key + "=" + v}); err != nil || !slices.Equal(again.values[key], values) {
				t.Errorf("%q is kept as %q, which is read as %q, %v", word, v, again.values[key], err)
			}
			r := api.Record{Record: api.RecordFirst, Verdict: v, Source: api.Party{Workload: v, Network: v, Project: project(v + ":x"), Tags: []string{v}}, Rule: "network-policy " + v}
			if n, known := api.Protocol(v).Number(); known {
				r.Protocol = protocolWord(uint8(n))
			} else if key == "protocol" {
				r.Protocol = strings.ToLower(v)
			}
			if len(strings.Split(v, ":")) > 3 && key != "rule" && key != "tag" || !chosen.Matches(&r) {
				t.Errorf("%q means no record that there could be", word)
			}
		}
	})
}
