// SPDX-License-Identifier: Apache-2.0

package vrouter

import "testing"

// Both ways of waiting for packets are there, so that one can stand in for the other.
func TestWaitForPackets(t *testing.T) {
	check(t, membarrier())
	check(t, waitByMap())
}
