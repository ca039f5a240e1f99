// SPDX-License-Identifier: Apache-2.0

package expire_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-network/weft/agent/expire"
)

type walks struct {
	count int
	macs  int
	gone  int
	five  chan struct{}
	// forgotten are the rules whose counts were removed.
	forgotten []uint32
}

func (w *walks) ExpireConnections() (int, error) {
	if w.count++; w.count == 2 {
		return 0, errors.New("table is busy")
	}
	if w.count == 5 {
		close(w.five)
	}
	return 1, nil
}

func (w *walks) ExpireMACs() (int, error) {
	if w.macs++; w.macs == 3 {
		return 0, errors.New("MACs are busy")
	}
	return 1, nil
}

func (w *walks) ForgetGone() error {
	if w.gone++; w.gone == 4 {
		return errors.New("drops are busy")
	}
	return nil
}

func (w *walks) RuleHits() (map[uint32]uint64, error) {
	if w.count != 4 {
		return nil, nil
	}
	all := map[uint32]uint64{}
	for n := range uint32(5000) {
		all[n] = 1
	}
	return all, nil
}

func (w *walks) ForgetRuleHits(rule uint32) error {
	w.forgotten = append(w.forgotten, rule)
	return nil
}

// A failed walk is told and does not end the others; a cancelled context does.
func TestRunWalksUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		w := walks{five: make(chan struct{})}
		began := time.Now()
		done := make(chan struct{})
		asked := func(context.Context) (map[uint32]bool, error) { return map[uint32]bool{7: true}, nil }
		go func() { expire.Run(ctx, &w, asked, slog.New(slog.NewTextHandler(&log, nil))); close(done) }()
		<-w.five
		cancel()
		<-done
		if w.count != 5 || time.Since(began) != 5*expire.Interval || strings.Count(log.String(), "table is busy") != 1 || strings.Count(log.String(), "MACs are busy") != 1 ||
			w.gone != 5 || strings.Count(log.String(), "drops are busy") != 1 {
			t.Errorf("%d walks, want 5; log %q", w.count, log.String())
		}
		if len(w.forgotten) != 4999 || slices.Contains(w.forgotten, 7) {
			t.Errorf("%d rules were forgotten, want all of 5000 but the one that is asked", len(w.forgotten))
		}
	})
}
