// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
	"github.com/weft-network/weft/control/balance"
	"github.com/weft-network/weft/control/placement"
	"github.com/weft-network/weft/control/routing"
	"github.com/weft-network/weft/control/status"
	"github.com/weft-network/weft/control/stream"
)

// oneHost is a snapshot that holds a host and nothing else.
type oneHost struct {
	api.Snapshot
	host *api.Host
}

func (o oneHost) List(kind api.Kind) []api.Object {
	if kind == api.KindHost {
		return []api.Object{o.host}
	}
	return nil
}

// What a host has and the store does not is a condition of the host, since when
// it is so, until it is no more.
func TestStraysOfAHost(t *testing.T) {
	h := &api.Host{Header: api.Header{Kind: api.KindHost, Meta: api.Meta{UUID: "u", Name: "h"}}}
	h.Status.Connected = true
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	step := func(now time.Time, warnings ...string) (changed bool) {
		state := stream.HostState{Connected: true, Report: &hoststream.Report{Features: []string{balance.Feature}, Warnings: warnings}}
		for _, c := range status.Changes(status.Input{Snapshot: oneHost{host: h}, Plan: &placement.Plan{Derived: &routing.Derived{}}, Hosts: map[string]stream.HostState{"u": state}, Now: now}) {
			if c.UUID == "u" {
				h.Status, changed = *c.Status.(*api.HostStatus), true
			}
		}
		return changed
	}
	if step(at) || h.Status.Conditions != nil {
		t.Errorf("no strays: %+v", h.Status)
	}
	step(at, "port p is plugged")
	if c := h.Status.Conditions; len(c) != 1 || c[0].Status || c[0].Type != status.Consistent || !strings.Contains(c[0].Message, "port p is plugged") || !c[0].Since.Equal(at) {
		t.Errorf("one stray: %+v", c)
	}
	if step(at.Add(time.Hour), "port p is plugged") {
		t.Errorf("written again though nothing is new: %+v", h.Status)
	}
	step(at.Add(time.Hour))
	if h.Status.Conditions != nil {
		t.Errorf("it is gone: %+v", h.Status.Conditions)
	}
}
