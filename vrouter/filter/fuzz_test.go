// SPDX-License-Identifier: Apache-2.0

package filter_test

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"github.com/weft-network/weft/vrouter/filter"
)

// maxInstructions is what a program may have: jumps reach 32,767, and the kernel takes a
// million. A comparison makes nine at most, and what joins it to others less than that.
const maxInstructions = 1 << 14

// FuzzParse: whatever is asked for is refused, or is a program of a bounded size in
// which every jump has its end; its text means the same to who reads it again.
func FuzzParse(f *testing.F) {
	some := []byte{12: 8, 13: 0, 14: 0x45, 23: 6, 60: 0}
	for _, s := range []string{
		"", "tcp and dst port 443 or 80", "not (src or dst host 10.0.0.1) && less 100", "net 10.1 || ip6 net fd00::/8", "ether host 02:00:00:00:00:01", "ether proto \\arp",
		"portrange 1-65535 and not udp", "ip proto 47", "ip6 multicast", "src and dst port 53", "greater 131070", "!!!icmp6", "((((tcp))))",
		manyPorts(50), strings.Repeat("not ", 32) + "tcp", "port", ")", "host ::ffff:10.0.0.1", "src or", "net 0/0",
	} {
		f.Add(s, some)
	}
	f.Fuzz(func(t *testing.T, text string, frame []byte) {
		one, err := filter.Parse(text)
		if err != nil {
			return
		}
		if len(one.String()) > filter.MaxText {
			t.Errorf("a filter of %d bytes is taken", len(one.String()))
		}
		program := one.Program()
		if len(program) > maxInstructions {
			t.Errorf("%q makes %d instructions", text, len(program))
		}
		if err := program.Marshal(io.Discard, binary.LittleEndian); err != nil {
			t.Errorf("%q makes a program that cannot be written: %v", text, err)
		}
		again, err := filter.Parse(one.String())
		if err != nil || again.Match(frame) != one.Match(frame) {
			t.Errorf("%q is %q, and that is another (%v)", text, one, err)
		}
	})
}
