// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weft-network/weft/vrouter/filter"
)

// captureFrame is an IPv4 frame of UDP to a port.
func captureFrame(size int, port byte) []byte {
	f := slices.Repeat([]byte{byte(size)}, size)
	copy(f[12:], []byte{8, 0, 0x45})
	f[20], f[21], f[23], f[36], f[37] = 0, 0, 17, 0, port
	return f
}

// A record has as many bytes as are asked for, of frames of any size; what the
// filter does not want, or has a VLAN tag, is not there, and what finds no room
// is counted. The program says that the next one is to decide, always.
func TestCaptureKeepsFrames(t *testing.T) {
	f, err := filter.Parse("udp dst port 7 and not (tcp or ip6 or less 59) or portrange 100-99")
	check(t, err)
	for _, length := range []int{0, 1, 60, 256, 300, 2048, 2500} {
		c, err := loadCaptureOf(CaptureOptions{Filter: f, Length: length})
		check(t, err)
		sizes := []int{60, 255, 256, 257, 1514, 2047, 2048, 2049, 3000}
		for _, size := range sizes {
			for _, port := range []byte{7, 8} {
				runCapture(t, c, captureProgCaptureOut, captureFrame(size, port))
			}
		}
		runCapture(t, c, captureProgCaptureIn, captureFrame(59, 7)) // less 59 is up to 59
		for _, size := range sizes {
			got, err := c.Next()
			check(t, err)
			want := captureFrame(size, 7)
			if length > 0 {
				want = want[:min(length, size)]
			}
			if !bytes.Equal(got.Frame, want) || got.Length != size || got.In {
				t.Fatalf("length %d: %d bytes of %d (in: %v), want %d of %d", length, len(got.Frame), got.Length, got.In, len(want), size)
			}
		}
		if got, err := c.Next(); !errors.Is(err, ErrNothingCaptured) {
			t.Errorf("one more frame, %+v (%v)", got, err)
		}
		count, err := c.Count()
		check(t, err)
		if want := (CaptureCount{Matched: uint64(len(sizes))}); count != want {
			t.Errorf("counted %+v, want %+v", count, want)
		}
		check(t, c.Close())
	}
}

func runCapture(t *testing.T, c *Capture, program string, frame []byte) {
	t.Helper()
	verdict, err := c.objects.Programs[program].Run(&ebpf.RunOptions{Data: frame})
	check(t, err)
	if int32(verdict) != -1 {
		t.Fatalf("the program decides %d about a frame", int32(verdict))
	}
}

// What finds no room is counted, and what is there can be read.
func TestCaptureCountsWhatIsLost(t *testing.T) {
	c, err := loadCaptureOf(CaptureOptions{})
	check(t, err)
	defer func() { check(t, c.Close()) }()
	const frames = 3000 // of 1500 bytes; the ring holds some 2000
	_, err = c.objects.Programs[captureProgCaptureIn].Run(&ebpf.RunOptions{Data: captureFrame(1500, 1), Repeat: frames})
	check(t, err)
	read := uint64(0)
	for {
		got, err := c.Next()
		if errors.Is(err, ErrNothingCaptured) {
			break
		}
		check(t, err)
		if !got.In || len(got.Frame) != 1500 {
			t.Fatalf("%d bytes, in: %v", len(got.Frame), got.In)
		}
		read++
	}
	count, err := c.Count()
	check(t, err)
	if count.Matched != frames || count.Lost == 0 || count.Lost+read != frames {
		t.Errorf("read %d, and counted %+v of %d", read, count, frames)
	}
}

// Of many frames about one of so many is kept, and the others are counted.
func TestCaptureSamples(t *testing.T) {
	c, err := loadCaptureOf(CaptureOptions{OneOf: 8})
	check(t, err)
	defer func() { check(t, c.Close()) }()
	const frames = 4000
	_, err = c.objects.Programs[captureProgCaptureOut].Run(&ebpf.RunOptions{Data: captureFrame(100, 1), Repeat: frames})
	check(t, err)
	count, err := c.Count()
	check(t, err)
	kept := count.Matched - count.PassedOver
	if count.Matched != frames || count.Lost != 0 || kept < 350 || kept > 650 { // 500 expected, deviation 21
		t.Errorf("counted %+v of %d, want 500 kept, about", count, frames)
	}
	for range kept {
		if got, err := c.Next(); err != nil || got.In || got.Length != 100 {
			t.Fatalf("read %+v (%v)", got, err)
		}
	}
	if got, err := c.Next(); !errors.Is(err, ErrNothingCaptured) {
		t.Errorf("one more frame than were kept, %+v (%v)", got, err)
	}
}
