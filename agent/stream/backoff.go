// SPDX-License-Identifier: Apache-2.0

package stream

import "time"

// Bounds of the pause before connecting again.
const (
	firstPause = 200 * time.Millisecond // a controller that restarts is back in about a second
	maxPause   = 10 * time.Second       // and a long outage must not take longer than that to be noticed to end
)

// pause returns how long to wait after a number of failures in a row, from 1.
// random is in [0, 1): hosts that lost their controller together must not all
// come back together, so a pause is anything from half to the whole.
func pause(failures int, random float64) time.Duration {
	p := firstPause
	for i := 1; i < failures && p < maxPause; i++ {
		p *= 2
	}
	p = min(p, maxPause)
	return p/2 + time.Duration(random*float64(p/2))
}
