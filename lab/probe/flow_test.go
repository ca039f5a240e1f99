// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

func TestTallyTellsLostFromLate(t *testing.T) {
	for name, c := range map[string]struct {
		numbers                         []uint64
		received, duplicated, reordered uint64
	}{
		"in order":          {[]uint64{0, 1, 2, 3}, 4, 0, 0},
		"one is missing":    {[]uint64{0, 1, 3}, 3, 0, 0},
		"two changed place": {[]uint64{0, 2, 1, 3}, 4, 0, 1},
		"one came twice":    {[]uint64{0, 1, 1, 2}, 3, 1, 0},
		"late and twice":    {[]uint64{200, 3, 3, 201}, 3, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var got tally
			for _, n := range c.numbers {
				got.note(n)
			}
			if got.received != c.received || got.duplicated != c.duplicated || got.reordered != c.reordered {
				t.Errorf("received %d, duplicated %d, reordered %d; want %d, %d, %d",
					got.received, got.duplicated, got.reordered, c.received, c.duplicated, c.reordered)
			}
		})
	}
}

// Over loopback everything arrives, in both families.
func TestFlowAndTransferOverLoopback(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		f, err := Flow{Name: address, Address: netip.MustParseAddr(address), Rate: 2000}.Start()
		if err != nil {
			t.Fatal(err)
		}
		m, err := Transfer{Name: address, Address: netip.MustParseAddr(address), Rate: 5 << 20}.Start()
		if err != nil {
			t.Fatal(err)
		}
		wait(t, func() bool { return f.Received() > 200 && m.Received() > 200_000 })
		count, err := f.Stop()
		if err != nil {
			t.Fatal(err)
		}
		if count.Sent < 200 || count.Lost() != 0 || count.Duplicated+count.Refused != 0 {
			t.Errorf("%+v, want none lost", count)
		}
		moved, err := m.Stop()
		if err != nil || moved.Received != moved.Sent {
			t.Errorf("%+v: %v", moved, err)
		}
	}
}

// What the receiver's own socket has no room for is told apart from what the
// network lost: here the receiver does not read.
func TestFlowTellsAFullSocketFromTheNetwork(t *testing.T) {
	f, err := Flow{Name: "full", Address: netip.MustParseAddr("127.0.0.1"), Rate: 20000}.Start()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.receiver.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock() // the reader stops at its next datagram
	wait(t, func() bool { return f.sent.Load() > 500 })
	f.mu.Unlock()
	count, err := f.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if count.Overflowed == 0 || count.Lost() == 0 || count.LostOnTheWay() != 0 {
		t.Errorf("%+v: %d lost, %d on the way; want all of it to be the socket's", count, count.Lost(), count.LostOnTheWay())
	}
}

func wait(t *testing.T, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal("not in time")
		case <-time.After(10 * time.Millisecond):
		}
	}
}
