// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf/ringbuf"
)

// Request is a frame that a workload sent and the agent is to answer.
type Request struct {
	Ifindex int // the port's interface on the host
	Frame   []byte
}

// ErrClosed says that the reader of requests was closed.
var ErrClosed = errors.New("reader of requests is closed")

// Requests reads what the packet path hands over. There is one reader at a
// time; what waits while there is none is read by the next, until there is no room.
type Requests struct{ ring *ringbuf.Reader }

// OpenRequests opens the reader.
func (d *Datapath) OpenRequests() (*Requests, error) {
	ring, err := ringbuf.NewReader(d.maps["requests"])
	if err != nil {
		return nil, fmt.Errorf("open requests of workloads: %w", err)
	}
	return &Requests{ring}, nil
}

// Next waits for a request. Close ends the wait with [ErrClosed].
func (r *Requests) Next() (Request, error) {
	record, err := r.ring.Read()
	if errors.Is(err, os.ErrClosed) {
		return Request{}, ErrClosed
	}
	if err != nil {
		return Request{}, fmt.Errorf("read request of a workload: %w", err)
	}
	const header = 8
	raw := record.RawSample
	if len(raw) < header {
		return Request{}, fmt.Errorf("read request of a workload: record of %d bytes", len(raw))
	}
	ifindex, size := binary.NativeEndian.Uint32(raw), binary.NativeEndian.Uint32(raw[4:])
	if int(size) > len(raw)-header {
		return Request{}, fmt.Errorf("read request of a workload: frame of %d bytes in a record of %d", size, len(raw))
	}
	return Request{Ifindex: int(ifindex), Frame: raw[header : header+size]}, nil
}

// Close ends reading.
func (r *Requests) Close() error { return r.ring.Close() }
