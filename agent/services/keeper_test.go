// SPDX-License-Identifier: Apache-2.0

package services_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/agent/services"
)

// A service that cannot listen, or whose sockets fail, ends nothing: it says so
// and is served again, at its port or, when somebody has that, at another.
func TestFailedServiceIsServedAgain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	free := []uint16{0, 700, 700, 0, 800} // what each attempt gets; 0 fails
	var asked []uint16
	served, fail, moved := make(chan uint16), make(chan error), make(chan uint16, 1)
	k := &services.Keeper{
		Name: "DNS", Log: slog.New(slog.DiscardHandler), Pause: time.Millisecond,
		Listen: func(_ context.Context, _ bool, port uint16) (*services.Listeners, error) {
			asked = append(asked, port)
			now := free[0]
			if free = free[1:]; now == 0 {
				return nil, errors.New("address in use")
			}
			return &services.Listeners{Port: now}, nil
		},
		Serve: func(ctx context.Context, l *services.Listeners) error {
			served <- l.Port
			select {
			case err := <-fail:
				return err
			case <-ctx.Done():
				return nil
			}
		},
	}
	k.Open(ctx)
	if err := k.Failure(); k.Port() != 0 || err == nil || !strings.Contains(err.Error(), "DNS is not served") || !strings.Contains(err.Error(), "address in use") {
		t.Fatalf("at port %d: %v", k.Port(), err)
	}
	ended := make(chan error)
	go func() {
		ended <- k.Run(ctx, func(context.Context) error { moved <- k.Port(); return nil })
	}()
	turn := func(want uint16, isMoved bool) {
		t.Helper()
		if isMoved {
			if port := <-moved; port != want {
				t.Errorf("moved to port %d, want %d", port, want)
			}
		}
		if port := <-served; port != want || k.Failure() != nil {
			t.Errorf("served at port %d, want %d: %v", port, want, k.Failure())
		}
	}
	turn(700, true)
	fail <- errors.New("accept: too many open files")
	turn(700, false) // as before, so nobody need be told
	fail <- nil      // a service that ends by itself is one that failed
	turn(800, true)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if want := []uint16{0, 0, 700, 700, 0}; len(asked) != len(want) || asked[3] != 700 || asked[4] != 0 {
		t.Errorf("asked for ports %v, want %v", asked, want)
	}
}
