// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"testing"
	"time"
)

// Each connection is forgotten after the time of what it is and how far it is;
// what is not given has its default.
func TestTimeouts(t *testing.T) {
	given := Timeouts{Opening: 1, Closing: 2, Closed: 3, TCP: 4, UDP: 5, SCTP: 6, ICMP: 7, Other: 8, Reset: 9, SCTPOpening: 10, SCTPClosing: 11}
	const proven = ConnectionSent | ConnectionProven
	for _, c := range []struct {
		protocol uint8
		state    ConnectionState
		want     time.Duration
	}{
		{6, ConnectionSent, 1}, {17, ConnectionHeard, 1}, {6, proven | ConnectionFinSent, 2}, {6, proven | ConnectionFinSent | ConnectionFinHeard, 3}, {6, ConnectionReset, 9},
		{6, proven, 4}, {17, proven, 5}, {136, proven, 5}, {132, proven, 6}, {1, proven, 7}, {58, proven, 7}, {47, proven, 8},
		{132, ConnectionSent, 10}, {132, proven | ConnectionFinHeard, 11}, {132, proven | ConnectionFinSent | ConnectionFinHeard, 3}, {132, proven | ConnectionReset, 9},
		{6, proven | ConnectionReset | ConnectionFinSent | ConnectionFinHeard, 9},
	} {
		if got := given.withDefaults().of(c.protocol, c.state); got != c.want {
			t.Errorf("protocol %d, %v: %d, want %d", c.protocol, c.state, got, c.want)
		}
	}
	want := DefaultTimeouts
	want.UDP = time.Second
	if got := (Timeouts{UDP: time.Second}).withDefaults(); got != want {
		t.Errorf("with defaults %+v, want %+v", got, want)
	}
}
