// SPDX-License-Identifier: Apache-2.0

package host

import (
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/vrouter"
)

// Percent of a table: from nearlyFull on it is warned about, below roomAgain
// no more.
const (
	nearlyFull = 90
	roomAgain  = 85
)

// SetCapacity says how full the tables are. A table that was told to be nearly
// full is told so until a good part of it is free again, so that one that
// comes and goes about the limit is no news each time.
func (c *Core) SetCapacity(all []vrouter.Usage) {
	told := map[string]bool{}
	for _, t := range c.short {
		told[t.Table] = true
	}
	c.short, c.usage = nil, all
	for _, u := range all {
		if u.NearlyFull(nearlyFull) || told[u.Table] && u.NearlyFull(roomAgain) {
			c.short = append(c.short, &hoststream.TableUse{Table: u.Table, Size: u.Size, Full: u.Full()})
		}
	}
}

// Capacity returns how full the tables are, as last counted; the caller must
// not change it.
func (c *Core) Capacity() []vrouter.Usage { return c.usage }
