// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-network/weft/api"
)

// TestGatedChangesPause: each time longer than before, and not always the same, so that
// those who gate changes at once do not refuse each other every time; and whoever
// interrupts is not kept waiting.
func TestGatedChangesPause(t *testing.T) {
	refused := api.Errorf(api.CodePrecondition, "others wrote").About(api.KindNetwork, "n", api.FieldUnchangedSince)
	firsts := map[time.Duration]bool{}
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Time
			err := again(t.Context(), func() error {
				at = append(at, time.Now())
				return refused
			})
			var f failure
			if !errors.As(err, &f) || len(at) != gateAttempts {
				t.Fatalf("after %d times: %v", len(at), err)
			}
			for i := range at[1:] {
				least := gatePause << i / 2
				if pause := at[i+1].Sub(at[i]); pause < least || pause > 3*least {
					t.Errorf("pause %d is %v, want %v to %v", i+1, pause, least, 3*least)
				}
			}
			firsts[at[1].Sub(at[0])] = true
		})
	}
	if len(firsts) < 2 {
		t.Errorf("20 commands pause %v", firsts)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun := time.Now()
		err := again(ctx, func() error {
			cancel()
			return refused
		})
		if !errors.Is(err, context.Canceled) || time.Since(begun) > 0 {
			t.Errorf("interrupted: %v after %v", err, time.Since(begun))
		}
	})
}
