// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// HostTableCapture is a table of a port's frames as they pass, which a host makes
// for a question whose words follow the name as those of a URL do. The first row is a
// [CaptureState] in JSON, each other one a [CapturedFrame]. A capture ends some seconds
// after the last question.
const HostTableCapture = "capture"

// The directions of a capture: out is what the workload sends, in what it gets.
const (
	CaptureIn   = "in"
	CaptureOut  = "out"
	CaptureBoth = "both"
)

// CaptureQuestion says which frames of a port are wanted, and from where to go on.
type CaptureQuestion struct {
	ID        string // chosen by who asks
	Port      string // UUID or fully qualified name
	Filter    string // in tcpdump's words; empty: everything
	Direction string // one of the words Capture…; empty: both
	Length    int    // bytes kept of a frame; 0: all
	OneOf     uint32 // of so many frames one is kept; 0 and 1: each
	Count     uint64 // end after so many frames; 0: never
	Duration  time.Duration
	Begin     bool   // begin the capture unless it runs
	After     uint64 // sequence of the last frame that is known
	// Stop ends the capture; what it kept is answered.
	Stop bool
}

// CaptureState is how a capture is.
type CaptureState struct {
	Interface string    `json:"interface"`
	Began     time.Time `json:"began"`
	Sequence  uint64    `json:"sequence"` // of the last frame in the answer
	Matched   uint64    `json:"matched"`  // frames that the filter wanted
	// PassedOver of these by sampling, and Lost since they were too many to be read.
	PassedOver uint64 `json:"passedOver,omitempty"`
	Lost       uint64 `json:"lost,omitempty"`
	More       bool   `json:"more,omitempty"`  // there are more frames than the answer has
	Ended      string `json:"ended,omitempty"` // why there will be no more
}

// CapturedFrame is one frame.
type CapturedFrame struct {
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`
	In       bool      `json:"in,omitempty"`
	Length   int       `json:"length"` // of the frame on its way
	Bytes    []byte    `json:"bytes"`  // its first bytes
}

// Table is the question as the name of a host's table.
func (q CaptureQuestion) Table() string {
	v := url.Values{}
	for name, value := range map[string]string{"id": q.ID, "port": q.Port, "filter": q.Filter, "direction": q.Direction} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, value := range map[string]uint64{"length": uint64(q.Length), "one-of": uint64(q.OneOf), "count": q.Count, "after": q.After} {
		if value != 0 {
			v.Set(name, strconv.FormatUint(value, 10))
		}
	}
	if q.Duration != 0 {
		v.Set("duration", q.Duration.String())
	}
	for name, set := range map[string]bool{"begin": q.Begin, "stop": q.Stop} {
		if set {
			v.Set(name, "true")
		}
	}
	return HostTableCapture + "?" + v.Encode()
}

// ParseCaptureQuestion reads what follows the ? of a table's name.
func ParseCaptureQuestion(query string) (q CaptureQuestion, err error) {
	v, err := url.ParseQuery(query)
	if err != nil {
		return q, fmt.Errorf("read question for frames: %w", err)
	}
	var length, oneOf uint64
	words := map[string]*string{"id": &q.ID, "port": &q.Port, "filter": &q.Filter, "direction": &q.Direction}
	numbers := map[string]*uint64{"length": &length, "one-of": &oneOf, "count": &q.Count, "after": &q.After}
	for name, values := range v {
		value := values[len(values)-1]
		switch {
		case words[name] != nil:
			*words[name] = value
		case numbers[name] != nil:
			if *numbers[name], err = strconv.ParseUint(value, 10, 64); err != nil {
				return q, fmt.Errorf("read question for frames: %s: %q is not a number", name, value)
			}
		case name == "duration":
			if q.Duration, err = time.ParseDuration(value); err != nil || q.Duration < 0 {
				return q, fmt.Errorf("read question for frames: duration: %q is not a time", value)
			}
		case name == "stop":
			q.Stop = value == "true"
		case name == "begin":
			q.Begin = value == "true"
		default:
			return q, fmt.Errorf("read question for frames: %s is not known here: upgrade the agent", name)
		}
	}
	q.Length, q.OneOf = int(min(length, 1<<16)), uint32(min(oneOf, 1<<31))
	if q.Direction == "" {
		q.Direction = CaptureBoth
	}
	return q, q.check()
}

func (q CaptureQuestion) check() error {
	switch {
	case q.ID == "" || q.Port == "" || len(q.ID) > 64:
		return fmt.Errorf("read question for frames: it needs an id of at most 64 bytes and a port")
	case q.Direction != CaptureIn && q.Direction != CaptureOut && q.Direction != CaptureBoth:
		return fmt.Errorf("read question for frames: direction: %q is not in, out or both", q.Direction)
	}
	return nil
}

// CaptureTable is the answer to a question.
func CaptureTable(state CaptureState, frames []CapturedFrame) (Table, error) {
	t := Table{Columns: []string{"CAPTURE"}, Rows: make([][]string, 0, len(frames)+1)}
	text, err := json.Marshal(state)
	if err != nil {
		return Table{}, fmt.Errorf("encode state of a capture: %w", err)
	}
	t.Rows = append(t.Rows, []string{string(text)})
	for _, f := range frames {
		if text, err = json.Marshal(f); err != nil {
			return Table{}, fmt.Errorf("encode frame: %w", err)
		}
		t.Rows = append(t.Rows, []string{string(text)})
	}
	return t, nil
}

// ParseCapture reads the answer.
func ParseCapture(t Table) (state CaptureState, frames []CapturedFrame, err error) {
	if len(t.Rows) == 0 || len(t.Rows[0]) != 1 {
		return state, nil, fmt.Errorf("decode captured frames: the answer does not say how the capture is")
	}
	if err := json.Unmarshal([]byte(t.Rows[0][0]), &state); err != nil {
		return state, nil, fmt.Errorf("decode state of a capture: %w", err)
	}
	frames = make([]CapturedFrame, len(t.Rows)-1)
	for i, row := range t.Rows[1:] {
		if len(row) != 1 {
			return state, nil, fmt.Errorf("decode frame: a row of %d cells", len(row))
		}
		if err := json.Unmarshal([]byte(row[0]), &frames[i]); err != nil {
			return state, nil, fmt.Errorf("decode frame: %w", err)
		}
	}
	return state, frames, nil
}
