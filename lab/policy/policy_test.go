// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"
)

// Without policy everything passes inside a network, and nothing leaves it.
func TestPolicy(t *testing.T) {
	s := start(t)
	counts := tally{}
	began := time.Now()
	s.compare(t, counts, "without policy")
	t.Logf("%v in %v", counts, time.Since(began))
}
