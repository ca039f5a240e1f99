// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime/debug"
)

// collectPercent is how much garbage may come to what lives before it is
// collected. Nearly all of a controller's memory is objects that stay; Go's own
// 100 would have as much again lie about. doc/decisions/0016 has what it costs.
const collectPercent = 50

// collectSooner sets it, unless the environment says otherwise (GOGC).
func collectSooner() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectPercent)
	}
}
