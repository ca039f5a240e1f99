// SPDX-License-Identifier: Apache-2.0

package expire_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-network/weft/agent/expire"
)

type walks struct {
	count int
	macs  int
	five  chan struct{}
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

// A failed walk is told and does not end the others; a cancelled context does.
func TestRunWalksUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		w := walks{five: make(chan struct{})}
		began := time.Now()
		done := make(chan struct{})
		go func() { expire.Run(ctx, &w, slog.New(slog.NewTextHandler(&log, nil))); close(done) }()
		<-w.five
		cancel()
		<-done
		if w.count != 5 || time.Since(began) != 5*expire.Interval || strings.Count(log.String(), "table is busy") != 1 || strings.Count(log.String(), "MACs are busy") != 1 {
			t.Errorf("%d walks, want 5; log %q", w.count, log.String())
		}
	})
}
