// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/weft-network/weft/vrouter/filter"
)

// CaptureLength is the most that is kept of a frame.
const CaptureLength = 1 << 16

// captureRing is the size of a capture's ring, which holds what is not read yet.
const captureRing = 4 << 20

// CaptureOptions say what is captured. It must be a port's interface, and frames
// delivered to it must pass its egress: the port may not have RedirectPeer.
type CaptureOptions struct {
	Device int    // index of the interface
	VLAN   uint16 // of the sub-port; 0: the device's own port
	// Out is what the workload sends, In what it gets.
	Out, In bool
	Filter  filter.Filter
	Length  int    // bytes that are kept of a frame; 0: all, up to CaptureLength
	OneOf   uint32 // of so many frames one is kept, at random; 0 and 1: each
}

// Captured is a frame as it passed.
type Captured struct {
	Time   time.Time
	In     bool
	Length int    // of the frame
	Frame  []byte // its first bytes
}

// CaptureCount counts what a capture saw.
type CaptureCount struct {
	Matched    uint64 // by the filter
	PassedOver uint64 // of these, by sampling
	Lost       uint64 // of these, since the reader does not keep up
}

// Capture is a look at a port's frames. It belongs to this process: where the
// kernel has tcx, nothing of it stays when the process ends, however it ends;
// what stays elsewhere [Datapath.SweepCaptures] removes. It is read by one goroutine.
type Capture struct {
	objects *ebpf.Collection
	ring    *ringbuf.Reader
	began   time.Time // of the programs' clock, about
	raw     ringbuf.Record
	remove  []func() error
}

// OpenCapture begins a capture, in the network namespace of the interface.
func (d *Datapath) OpenCapture(o CaptureOptions) (*Capture, error) {
	c, err := loadCaptureOf(o)
	if err != nil {
		return nil, fmt.Errorf("capture on interface %d: %w", o.Device, explain(err))
	}
	for name, wanted := range map[string]bool{captureProgCaptureOut: o.Out, captureProgCaptureIn: o.In} {
		if !wanted {
			continue
		}
		remove, err := d.attachCapture(c.objects.Programs[name], o.Device, name == captureProgCaptureIn)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("capture on interface %d: %w", o.Device, err), c.Close())
		}
		c.remove = append(c.remove, remove)
	}
	return c, nil
}

// loadCaptureOf loads the programs with the filter in them.
func loadCaptureOf(o CaptureOptions) (*Capture, error) {
	spec, err := loadCapture()
	if err != nil {
		return nil, err
	}
	length := o.Length
	if length <= 0 || length > CaptureLength {
		length = CaptureLength
	}
	for name, value := range map[string]uint32{captureVarCaptureVlan: uint32(o.VLAN), captureVarCaptureLength: uint32(length), captureVarCaptureOneOf: max(1, o.OneOf)} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	for _, p := range spec.Programs {
		if p.Instructions, err = withFilter(p.Instructions, o.Filter); err != nil {
			return nil, err
		}
	}
	spec.Maps[captureMapCaptureRing].MaxEntries = captureRing
	c := &Capture{}
	if c.objects, err = ebpf.NewCollection(spec); err != nil {
		return nil, err
	}
	if c.ring, err = ringbuf.NewReader(c.objects.Maps[captureMapCaptureRing]); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.ring.SetDeadline(time.Unix(1, 0)) // in the past: what is there is read, and nothing waited for
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, errors.Join(fmt.Errorf("read monotonic clock: %w", err), c.Close())
	}
	c.began = time.Now().Add(-time.Duration(now.Nano()))
	return c, nil
}

// captureFilter is the function of the programs that the filter's stands for.
const captureFilter = "capture_filter"

// withFilter puts the filter's program in its place.
func withFilter(all asm.Instructions, f filter.Filter) (asm.Instructions, error) {
	begin, end := -1, len(all)
	for i := range all {
		switch {
		case all[i].Symbol() == captureFilter:
			begin = i
		case begin >= 0 && all[i].Symbol() != "" && i < end:
			end = i
		}
	}
	if begin < 0 {
		return nil, fmt.Errorf("put filter in place: object has no function %s", captureFilter)
	}
	program := f.Program()
	program[0] = program[0].WithMetadata(all[begin].Metadata) // name and type of the function
	out := append(asm.Instructions{}, all[:begin]...)
	return append(append(out, program...), all[end:]...), nil
}

// ErrNothingCaptured says that there is nothing to read now.
var ErrNothingCaptured = errors.New("no frame is there")

// Next returns the oldest frame that was not read yet; ErrNothingCaptured if there is none.
func (c *Capture) Next() (Captured, error) {
	err := c.ring.ReadInto(&c.raw)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Captured{}, ErrNothingCaptured
	}
	if err != nil {
		return Captured{}, fmt.Errorf("read captured frame: %w", err)
	}
	var raw captureCaptureRecord
	size := binary.Size(raw)
	if len(c.raw.RawSample) < size {
		return Captured{}, fmt.Errorf("read captured frame: record of %d bytes", len(c.raw.RawSample))
	}
	if err := binary.Read(bytes.NewReader(c.raw.RawSample), binary.NativeEndian, &raw); err != nil {
		return Captured{}, fmt.Errorf("read captured frame: %w", err)
	}
	frame := c.raw.RawSample[size:]
	return Captured{
		Time: c.began.Add(time.Duration(raw.Time)), In: raw.Direction == captureCaptureDirectionCAPTURE_IN,
		Length: int(raw.Length), Frame: bytes.Clone(frame[:min(int(raw.Size), len(frame))]),
	}, nil
}

// Count returns what was counted so far, of both directions.
func (c *Capture) Count() (sum CaptureCount, err error) {
	for direction := range uint32(2) {
		var perCPU []captureCaptureCount
		if err := c.objects.Maps[captureMapCaptureCounts].Lookup(direction, &perCPU); err != nil {
			return sum, fmt.Errorf("read counts of a capture: %w", err)
		}
		for _, v := range perCPU {
			sum.Matched += v.Matched
			sum.PassedOver += v.PassedOver
			sum.Lost += v.Lost
		}
	}
	return sum, nil
}

// Stop takes the programs off; what they kept can still be read. It must be called
// in the network namespace of the interface, and may be repeated.
func (c *Capture) Stop() (bad error) {
	for _, remove := range c.remove {
		bad = errors.Join(bad, remove())
	}
	c.remove = nil
	return bad
}

// Close stops and forgets everything.
func (c *Capture) Close() error {
	bad := c.Stop()
	if c.ring != nil {
		bad = errors.Join(bad, c.ring.Close())
	}
	if c.objects != nil {
		c.objects.Close()
	}
	return bad
}
