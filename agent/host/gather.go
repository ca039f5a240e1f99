// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weft-network/weft/agent/desired"
	"github.com/weft-network/weft/api/hoststream"
)

// What is kept back is in memory besides the rows that it changes, and takes no
// effect: so it is bounded, also in time, and what is beyond takes effect as it comes.
const (
	maxGathered  = 32 << 20 // bytes
	maxGathering = 10 * time.Second
)

// gathered are deltas that are kept back until all are here that belong together.
type gathered struct {
	deltas []*hoststream.Delta
	bytes  int
	since  time.Time
}

func (g *gathered) last() *hoststream.Delta {
	if len(g.deltas) == 0 {
		return nil
	}
	return g.deltas[len(g.deltas)-1]
}

// Gather takes a delta: it is kept back if more belongs to it, and otherwise
// applied together with what was kept. parted says why what belongs together is
// applied in parts, if it is from now on. The error is [Core.Apply]'s.
func (c *Core) Gather(d *hoststream.Delta, now time.Time) (kept bool, parted string, err error) {
	if err := c.follows(d); err != nil {
		return false, "", err
	}
	// A host that has nothing, or some of something, gains nothing by waiting.
	if d.More && c.known && !c.want.Partial() {
		g := &c.gathered
		if g.last() == nil {
			g.since = now
		}
		size, lasts := proto.Size(d), now.Sub(g.since)
		if g.bytes+size <= maxGathered && lasts < maxGathering {
			g.deltas, g.bytes = append(g.deltas, d), g.bytes+size
			return true, "", nil
		}
		parted = fmt.Sprintf("%d bytes came in %v", g.bytes+size, lasts.Round(time.Millisecond))
	}
	all := append(c.gathered.deltas, d)
	c.gathered = gathered{}
	for _, one := range all {
		if err := c.Apply(one); err != nil {
			return false, "", err
		}
	}
	return false, parted, nil
}

// follows says that a delta is older than what was kept, if so: then none of
// these is applied.
func (c *Core) follows(d *hoststream.Delta) error {
	version := func(d *hoststream.Delta) desired.Version {
		return desired.Version{Epoch: d.GetVersion().GetEpoch(), Revision: d.GetVersion().GetRevision()}
	}
	newest := c.want.Version()
	if last := c.gathered.last(); last != nil {
		newest = version(last)
	}
	if v := version(d); v.Before(newest) {
		return fmt.Errorf("take delta %d of version %v after %v: %w", d.Sequence, v, newest, desired.ErrOlder)
	}
	return nil
}
