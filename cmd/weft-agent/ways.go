// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/weft-network/weft/agent/datapath"
	"github.com/weft-network/weft/agent/link"
)

// ways are how the kernel reaches addresses of the underlay. It is asked once
// for each; other answers come with other ways.
type ways struct {
	links   *link.Driver
	uplinks []int

	mu    sync.Mutex // the loop asks, the follower makes them anew
	asked map[netip.Addr]way
}

type way struct {
	path  datapath.Path
	known bool
}

func newWays(links *link.Driver, uplinks []int) *ways {
	return &ways{links: links, uplinks: uplinks, asked: map[netip.Addr]way{}}
}

func (w *ways) path(remote netip.Addr) (datapath.Path, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, done := w.asked[remote]
	if !done {
		a.path.Uplink, a.path.Source, a.path.Live, a.known = w.links.Path(remote, w.uplinks)
		w.asked[remote] = a
	}
	return a.path, a.known
}

// anew asks for all again, and returns w itself if nothing is different.
func (w *ways) anew(uplinks []int) *ways {
	w.mu.Lock()
	defer w.mu.Unlock()
	fresh, same := newWays(w.links, uplinks), slices.Equal(uplinks, w.uplinks)
	for remote, was := range w.asked {
		path, known := fresh.path(remote)
		same = same && was == way{path, known}
	}
	if same {
		return w
	}
	return fresh
}
