// SPDX-License-Identifier: Apache-2.0

package expire

import (
	"context"
	"log/slog"
	"time"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/vrouter"
)

// cutShare bounds what walks cost that follow from news of members: one that took a
// second is followed by a pause of this many, at most an Interval.
const cutShare = 9

// Served are the senders' ends of conversations with virtual addresses.
type Served interface {
	// CutServed removes those of a protocol of which left says so.
	CutServed(protocol uint8, left func(vrouter.ConnectionKey, vrouter.MAC) bool) (removed int, err error)
}

const protocolUDP = 17

// Cut ends, until the context does, the conversations by UDP with members that are down:
// at once when there are news of any, and each Interval those that came from
// another host meanwhile, or while a packet was on its way.
func Cut(ctx context.Context, served Served, changed <-chan struct{}, who func(context.Context) (datapath.Down, error), log *slog.Logger) {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	var known datapath.Down
	for {
		news := true
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-ticker.C:
			news = false
		}
		down, err := who(ctx)
		if err != nil {
			return // the host's loop has ended
		}
		if len(down.Members) == 0 || news && !down.Beyond(known) {
			known = down
			continue
		}
		began := time.Now()
		removed, err := served.CutServed(protocolUDP, down.Left)
		if err != nil {
			log.Warn("conversations with members that are down are not cut; trying again", "error", err, "retry", Interval)
			continue
		}
		known = down
		if removed > 0 {
			log.Info("conversations by UDP with members that are down go to others", "connections", removed)
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(cutShare*time.Since(began), Interval)):
		}
	}
}
