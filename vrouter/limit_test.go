// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// limitNow is the programs' clock, in times of limits.
func limitNow(t testing.TB) uint64 {
	t.Helper()
	var now unix.Timespec
	check(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return uint64(now.Nano()) * uint64(layoutLimitBoundLIMIT_TIME)
}

// limitHour is longer than a test takes.
const limitHour = 3600 * 16_000_000_000

// limitFrame is something that may come: its headers fit together more often than not.
func limitFrame(r *rand.Rand) []byte {
	frame := make([]byte, 54+r.IntN(1400))
	for i := range frame {
		frame[i] = byte(r.Uint32())
	}
	binary.BigEndian.PutUint16(frame[12:], []uint16{0x0800, 0x0800, 0x86dd, 0x86dd, 0x0806, 0x88cc}[r.IntN(6)])
	protocol := []byte{6, 6, 17, 132, 1, 47}[r.IntN(6)]
	if binary.BigEndian.Uint16(frame[12:]) == 0x0800 {
		frame[14], frame[23] = 4<<4|byte(5+r.IntN(11)), protocol
	} else {
		frame[14], frame[20] = 6<<4|frame[14]&0xf, protocol
	}
	if r.IntN(20) == 0 {
		frame[14] = byte(r.Uint32())
	}
	return frame
}

// limitContext tells the kernel how a frame is to be cut: struct __sk_buff.
func limitContext(cut Segments) []byte {
	c := make([]byte, 184)
	binary.NativeEndian.PutUint32(c[164:], cut.Count)
	binary.NativeEndian.PutUint32(c[176:], cut.Size)
	return c
}

// loadLimits loads the limit stage alone, with tables of its own.
func loadLimits(t *testing.T) *Datapath {
	t.Helper()
	spec, err := loadLimit()
	check(t, err)
	for _, name := range []string{"limits", "limit_states", "drops"} {
		spec.Maps[name].MaxEntries = 64
	}
	c, err := ebpf.NewCollection(spec)
	check(t, err)
	t.Cleanup(c.Close)
	d := &Datapath{maps: c.Maps, stages: map[layoutStageSlot]*ebpf.Program{}}
	for slot, name := range limitStages {
		d.stages[slot] = c.Programs[name]
	}
	return d
}

func limitOne(r *rand.Rand) Limit {
	l := Limit{Mark: r.IntN(2) == 0, DSCP: uint8(r.IntN(64))}
	if !l.Mark {
		l.DSCP = 0
	}
	any32 := func() uint32 { return 1 + r.Uint32()>>r.IntN(32)>>1 }
	if r.IntN(4) > 0 {
		l.Rate = any32()
	}
	if r.IntN(3) == 0 {
		l.PacketRate = any32()
	}
	if l.Rate != 0 && r.IntN(2) == 0 {
		l.Burst = uint32(min(uint64(any32()), 4*3600*uint64(l.Rate)))
	}
	if l.PacketRate != 0 && r.IntN(2) == 0 {
		l.PacketBurst = uint32(min(uint64(any32()), 4*3600*uint64(l.PacketRate)))
	}
	return l
}

// limitUsed is until when a bucket is used up: an hour before or after the moment
// that decides, or longer ago.
func limitUsed(r *rand.Rand, now, depth uint64) uint64 {
	switch r.IntN(3) {
	case 0:
		return 0
	case 1:
		return now + depth + limitHour
	}
	if depth > 2*limitHour {
		return now + depth - limitHour
	}
	return now - min(now, uint64(r.Uint32()))
}

// TestLimitsOweWhatTheyHold: a port that has used up a deep bucket is let through by a
// limit that holds less, as soon as that one would; and nothing is forgiven without need.
func TestLimitsOweWhatTheyHold(t *testing.T) {
	d := loadLimits(t)
	key, table := layoutLimitKey{Ifindex: 1, Direction: limitOut}, LimitTable{d}
	deep := Limit{Rate: 10_000, Burst: 2_000_000, PacketRate: 1, PacketBurst: 200} // 200 s of each
	check(t, table.set(1, 1, limitOut, deep))
	raw := limitToRaw(deep)
	owes := layoutLimitState{Until: limitNow(t) + raw.Depth, PacketsUntil: limitNow(t) + raw.PacketDepth, Limited: 7}
	check(t, d.maps["limit_states"].Put(&key, &owes))
	state := func() (s layoutLimitState) {
		t.Helper()
		check(t, d.maps["limit_states"].LookupWithFlags(&key, &s, ebpf.LookupLock))
		return s
	}
	deep.Mark = true
	check(t, table.set(1, 1, limitOut, deep))
	if s := state(); s.Until != owes.Until || s.PacketsUntil != owes.PacketsUntil || s.Limited != 7 {
		t.Errorf("a limit of the same depth owes %+v, want %+v", s, owes)
	}
	shallow := Limit{Rate: 1_000_000, PacketRate: 100}
	check(t, table.set(1, 1, limitOut, shallow))
	raw = limitToRaw(shallow)
	if s, now := state(), limitNow(t); s.Until > now+raw.Depth || s.PacketsUntil > now+raw.PacketDepth || s.Until == 0 || s.Limited != 7 {
		t.Errorf("at %d a limit of %+v owes %+v", now, raw, s)
	}
}

// TestLimitsAgreeWithOracle runs the programs on random frames under random limits.
func TestLimitsAgreeWithOracle(t *testing.T) {
	const cases, atMost = 1000, 200_000 // of each outcome and direction, within a bound that chance does not come to
	r := seeded(t)
	d := loadLimits(t)
	seen, frames := map[string]int{}, 0
	few := func() bool {
		for _, what := range []string{"limited", "passed", "marked", "whole", "cut"} {
			if seen["out "+what] < cases || seen["in "+what] < cases {
				return true
			}
		}
		return false
	}
	const ifindex = 1 // of a test run's frames
	for ; few() && frames < atMost; frames++ {
		name, direction, reason := "out", limitOut, "egress-limited"
		if r.IntN(2) == 0 {
			name, direction, reason = "in", limitIn, "ingress-limited"
		}
		now, limit := limitNow(t), limitOne(r)
		key, raw := layoutLimitKey{Ifindex: ifindex, Direction: direction}, limitToRaw(limit)
		if limitOf(raw) != limit {
			t.Fatalf("limit %+v reads as %+v", limit, limitOf(raw))
		}
		model := LimitModel{Limit: limit, Until: limitUsed(r, now, raw.Depth), PacketsUntil: limitUsed(r, now, raw.PacketDepth)}
		check(t, d.maps["limits"].Put(&key, &raw))
		check(t, d.maps["limit_states"].Put(&key, &layoutLimitState{Until: model.Until, PacketsUntil: model.PacketsUntil}))
		frame, cut := limitFrame(r), Segments{}
		if r.IntN(2) == 0 {
			cut = Segments{uint32(r.IntN(20)), 1 + uint32(r.IntN(1500))}
		}
		late := model
		passes, want := model.Frame(now, frame, cut)
		run := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256), Context: limitContext(cut)}
		verdict, err := d.stages[layoutStageSlotSTAGE_SLOT_LIMIT_OUT+layoutStageSlot(direction)].Run(run)
		check(t, err)
		late.Frame(limitNow(t), frame, cut)
		if got := int32(verdict) == -1; got != passes || !got && verdict != 2 || !bytes.Equal(run.DataOut, want) {
			t.Fatalf("frame %d %s %+v cut %+v: verdict %d, want passes: %t\n in   %s\n got  %s\n want %s", frames, name, limit, cut, int32(verdict), passes, hex.EncodeToString(frame), hex.EncodeToString(run.DataOut), hex.EncodeToString(want))
		}
		var after layoutLimitState
		check(t, d.maps["limit_states"].Lookup(&key, &after))
		if got := (LimitCount{after.Packets, after.Bytes, after.Limited, after.LimitedBytes, after.Marked}); got != model.LimitCount {
			t.Fatalf("frame %d %s %+v cut %+v: counted %+v, want %+v\n in %s", frames, name, limit, cut, got, model.LimitCount, hex.EncodeToString(frame))
		}
		if after.Until < model.Until || after.Until > late.Until || after.PacketsUntil < model.PacketsUntil || after.PacketsUntil > late.PacketsUntil {
			t.Fatalf("frame %d %s %+v cut %+v: used up until %d and %d, want from %d and %d to %d and %d", frames, name, limit, cut, after.Until, after.PacketsUntil, model.Until, model.PacketsUntil, late.Until, late.PacketsUntil)
		}
		seen[name+" "+map[bool]string{true: "passed", false: "limited"}[passes]]++
		seen[name+" "+map[bool]string{true: "whole", false: "cut"}[cut.Size == 0]]++
		seen[name+" marked"] += int(model.Marked)
		if !passes {
			seen[reason]++
		}
	}
	t.Logf("%d frames: %v", frames, seen)
	if few() {
		t.Errorf("want %d of each", cases)
	}
	for reason, drop := range dropsByReason(t, d) {
		if int(drop.Packets) != seen[reason] {
			t.Errorf("%d frames counted as %s, want %d", drop.Packets, reason, seen[reason])
		}
	}
	t.Run("what is not limited passes", func(t *testing.T) { testUnlimited(t, d) })
}

// testUnlimited: of another interface, of another direction, and where
// nothing is known of what is used up.
func testUnlimited(t *testing.T, d *Datapath) {
	for _, name := range []string{"limits", "limit_states"} {
		for direction := range limitDirections {
			check(t, d.maps[name].Delete(&layoutLimitKey{Ifindex: 1, Direction: direction}))
		}
	}
	limit, used := limitToRaw(Limit{Rate: 1, Mark: true, DSCP: 63}), layoutLimitState{Until: limitNow(t) + 2*limitHour}
	for _, key := range []layoutLimitKey{{Ifindex: 2, Direction: limitOut}, {Ifindex: 1, Direction: limitIn}} {
		check(t, d.maps["limits"].Put(&key, &limit))
		check(t, d.maps["limit_states"].Put(&key, &used))
	}
	out := layoutLimitKey{Ifindex: 1, Direction: limitOut}
	check(t, d.maps["limits"].Put(&out, &limit))
	frame := captureFrame(100, 7)
	run := func() (uint32, []byte) {
		o := &ebpf.RunOptions{Data: frame, DataOut: make([]byte, 512)}
		verdict, err := d.stages[layoutStageSlotSTAGE_SLOT_LIMIT_OUT].Run(o)
		check(t, err)
		return verdict, o.DataOut
	}
	if verdict, after := run(); int32(verdict) != -1 || !bytes.Equal(after, frame) {
		t.Errorf("verdict %d and %x about a frame without state", int32(verdict), after)
	}
	check(t, d.maps["limit_states"].Put(&out, &used))
	if verdict, _ := run(); verdict != 2 {
		t.Errorf("verdict %d about a frame whose bucket is used up", int32(verdict))
	}
	check(t, d.maps["limits"].Delete(&out))
	if verdict, after := run(); int32(verdict) != -1 || !bytes.Equal(after, frame) {
		t.Errorf("verdict %d and %x about a frame without limit", int32(verdict), after)
	}
}

func TestDepthOfBuckets(t *testing.T) {
	const second = 16_000_000_000
	for _, c := range []struct {
		rate, burst uint32
		want        uint64
	}{{0, 7, 0}, {1000, 0, second / 10 * 8}, {1000, 500, second / 2}, {3, 1, second / 3}, {1, 1 << 31, 86400 * second}, {1 << 31, 1, 7}} {
		if got := depth(c.rate, c.burst); got != c.want {
			t.Errorf("depth of rate %d with burst %d is %d, want %d", c.rate, c.burst, got, c.want)
		}
	}
}
