// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"time"

	"github.com/weft-network/weft/api/hoststream"
)

// maxHold bounds how long a hold may last.
const maxHold = 10 * time.Minute

// Hold says that a change is to hold at all hosts at once.
type Hold struct {
	ID    string
	Lasts time.Duration // then it ends by itself
}

// HoldRow is the key of a hold's row.
func HoldRow(id string) string { return "hold/" + id }

func (r *Rows) insertHold(key string, m *hoststream.Hold) (string, error) {
	v := Hold{ID: m.Hold, Lasts: time.Duration(m.Seconds) * time.Second}
	if v.Lasts <= 0 || v.Lasts > maxHold {
		return "", fmt.Errorf("hold lasts %v, want more than nothing and at most %v", v.Lasts, maxHold)
	}
	k := HoldRow(v.ID)
	if k == key {
		r.Holds[v.ID] = v
	}
	return k, nil
}
