// SPDX-License-Identifier: Apache-2.0

package stream

import "testing"

func TestPause(t *testing.T) {
	for failures := 1; failures < 40; failures++ {
		low, high := pause(failures, 0), pause(failures, 0.999)
		if low < firstPause/2 || high > maxPause || high < low || failures > 1 && low < pause(failures-1, 0) {
			t.Errorf("after %d failures %v to %v", failures, low, high)
		}
	}
	if pause(1000, 0) != maxPause/2 {
		t.Errorf("after very many failures: %v", pause(1000, 0))
	}
}
