// SPDX-License-Identifier: Apache-2.0

package vrouter

import "time"

// Timeouts are how long connections may be without packets. One that is gone
// early costs its next packet some lookups; where policy is asked that packet
// begins a conversation, and it may be that only the other end may do that.
type Timeouts struct {
	Opening time.Duration // nothing was heard after it sent, or the other way round
	Closing time.Duration // of TCP, after the first FIN
	Closed  time.Duration // of TCP and SCTP, after the FINs or SHUTDOWNs of both: late packets and repetitions
	Reset   time.Duration // after a RST or ABORT
	TCP     time.Duration // established
	UDP     time.Duration // heard from both ends, of UDP-Lite too
	SCTP    time.Duration
	// SCTP repeats what opens and closes an association for less long than TCP may.
	SCTPOpening, SCTPClosing time.Duration

	ICMP  time.Duration // echoes, of both families
	Other time.Duration
}

// DefaultTimeouts are used for those that are zero.
var DefaultTimeouts = Timeouts{
	Opening:     time.Minute,
	Closing:     4 * time.Minute, // RFC 5382, transitory
	Closed:      10 * time.Second,
	Reset:       10 * time.Second,
	TCP:         124 * time.Minute, // RFC 5382, established: two hours four minutes
	UDP:         5 * time.Minute,   // RFC 4787
	SCTP:        10 * time.Minute,
	SCTPOpening: 30 * time.Second,
	SCTPClosing: 2 * time.Minute,
	ICMP:        time.Minute, // RFC 5508
	Other:       10 * time.Minute,
}

const icmp, tcp, icmpSix, sctp = 1, 6, 58, 132

func (t Timeouts) withDefaults() Timeouts {
	or := func(d, otherwise time.Duration) time.Duration {
		if d == 0 {
			return otherwise
		}
		return d
	}
	d := DefaultTimeouts
	return Timeouts{
		Opening: or(t.Opening, d.Opening), Closing: or(t.Closing, d.Closing), Closed: or(t.Closed, d.Closed), Reset: or(t.Reset, d.Reset), TCP: or(t.TCP, d.TCP),
		UDP: or(t.UDP, d.UDP), SCTP: or(t.SCTP, d.SCTP), SCTPOpening: or(t.SCTPOpening, d.SCTPOpening), SCTPClosing: or(t.SCTPClosing, d.SCTPClosing),
		ICMP: or(t.ICMP, d.ICMP), Other: or(t.Other, d.Other),
	}
}

// of is how long a connection may be idle.
func (t Timeouts) of(protocol uint8, state ConnectionState) time.Duration {
	opening, closing := t.Opening, t.Closing
	if protocol == sctp {
		opening, closing = t.SCTPOpening, t.SCTPClosing
	}
	switch state.String() {
	case "opening":
		return opening
	case "closing":
		return closing
	case "reset":
		return t.Reset
	case "closed":
		return t.Closed
	}
	switch protocol {
	case tcp:
		return t.TCP
	case icmp, icmpSix:
		return t.ICMP
	case 17, 136:
		return t.UDP
	case sctp:
		return t.SCTP
	}
	return t.Other
}
