// SPDX-License-Identifier: Apache-2.0

// Package bench measures one TCP stream over several paths in turn: Weft, and
// beside it, in the same round, what the machine does without it.
//
// Figures of two moments of one machine do not compare, so every figure is
// also given relative to the baseline of its own round.
package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/weft-network/weft/lab/namespace"
)

// Settings of every stream. BBR, the default of some machines, paces and so
// hides the path; unpinned streams jump by a factor of three.
const (
	congestion = "cubic"
	affinity   = "0,1" // client on CPU 0, server on CPU 1
	rpsCPUs    = "1"   // mask: CPU 0 receives for all veths
	innerMTU   = 1500  // of every measured path
	iperfPort  = "5201"
)

// Length is the size of the sender's writes, as iperf3 -l takes it; empty is
// iperf3's own, 128K.
type Length string

func (l Length) String() string {
	if l == "" {
		return "128K (iperf3's own)"
	}
	return string(l)
}

// Load is what a client sends: so many streams at a time, with writes of a size.
type Load struct {
	Streams int    `json:"streams"`
	Length  Length `json:"length"`
}

func (l Load) String() string {
	if l.Streams > 1 {
		return fmt.Sprintf("%d streams, writes of %v", l.Streams, l.Length)
	}
	return fmt.Sprintf("one stream, writes of %v", l.Length)
}

// Stream is one measurement, of all its streams together.
type Stream struct {
	GbitPerSecond float64 `json:"gbitPerSecond"`
	Retransmits   int     `json:"retransmits"`
	MSS           int     `json:"mss"`
	// ClientCPU and ServerCPU are how much of its core each end used, percent.
	// When neither used most of it, something else of the machine did.
	ClientCPU float64 `json:"clientCPU"`
	ServerCPU float64 `json:"serverCPU"`
}

// busy is the part of a core, percent, that the slower end of an undisturbed
// stream uses at least; what is missing from 100 is waiting for the other.
const busy = 85

func (s Stream) disturbed() bool { return s.ClientCPU < busy && s.ServerCPU < busy }

// stream runs one client against the server that listens at an address.
func stream(ctx context.Context, ns string, to netip.Addr, load Load, seconds int) (Stream, error) {
	argv := []string{"-c", to.String(), "-p", iperfPort, "-J", "-C", congestion, "-A", affinity, "-t", strconv.Itoa(seconds)}
	if load.Length != "" {
		argv = append(argv, "-l", string(load.Length))
	}
	if load.Streams > 1 {
		argv = append(argv, "-P", strconv.Itoa(load.Streams))
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+streamSlack)
	defer cancel()
	cmd := exec.CommandContext(ctx, "iperf3", argv...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := namespace.Start(ns, cmd); err != nil {
		return Stream{}, fmt.Errorf("start iperf3 in %s: %w", ns, err)
	}
	err := cmd.Wait()
	s, parseErr := parseStream([]byte(out.String()))
	if parseErr != nil {
		return s, fmt.Errorf("iperf3 %s in %s: %w", strings.Join(argv, " "), ns, parseErr)
	}
	if err != nil {
		return s, fmt.Errorf("iperf3 %s in %s: %w", strings.Join(argv, " "), ns, err)
	}
	return s, nil
}

// streamSlack is for connecting and for the exchange of results.
const streamSlack = 10 * time.Second

// parseStream reads what iperf3 -J prints.
func parseStream(data []byte) (Stream, error) {
	var report struct {
		Error string `json:"error"`
		Start struct {
			MSS int `json:"tcp_mss_default"`
		} `json:"start"`
		End struct {
			Sent struct {
				Retransmits int `json:"retransmits"`
			} `json:"sum_sent"`
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
			CPU struct {
				Host   float64 `json:"host_total"`
				Remote float64 `json:"remote_total"`
			} `json:"cpu_utilization_percent"`
		} `json:"end"`
	}
	if err := json.Unmarshal(data, &report); err != nil {
		return Stream{}, fmt.Errorf("read its report: %w: %s", err, strings.TrimSpace(string(data)))
	}
	if report.Error != "" {
		return Stream{}, fmt.Errorf("it says: %s", report.Error)
	}
	return Stream{
		GbitPerSecond: report.End.Received.Bits / 1e9,
		Retransmits:   report.End.Sent.Retransmits,
		MSS:           report.Start.MSS,
		ClientCPU:     report.End.CPU.Host,
		ServerCPU:     report.End.CPU.Remote,
	}, nil
}
