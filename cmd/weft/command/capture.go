// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/vrouter/filter"
)

const captureLong = `Write the packets of a port as they pass, in pcapng, to the standard output or a
file: what the workload sends, before anything is done to it, and what it gets.
The host of the port need not be logged in to, and the workload notices nothing.

FILTER is in tcpdump's words: host, net, port, portrange and proto, with src, dst
and ether, ip, ip6, arp, tcp, udp, sctp, icmp, icmp6 before them or by themselves;
less and greater; and, or, not, parentheses. Names are not looked up.

The originals are never lost or changed for it; what the workload gets takes one
queue of the kernel more while it is captured. What comes faster than it can be
carried here is left out and counted: on the standard error at the end, and in the
file. Only administrators of Weft may do this, and it is in the audit.`

// newCapture is the command.
func newCapture(s *session) *cobra.Command {
	var o captureOptions
	c := &cobra.Command{
		Use:               "capture PORT [FILTER]",
		Short:             "Write a port's packets, for tcpdump or Wireshark",
		Long:              captureLong,
		Example:           "  weft capture web-1 | tcpdump -n -r -\n  weft capture web-1 'tcp port 80 and host 10.0.0.7' --count 100 -w web-1.pcapng\n  weft capture web-1 --direction in --snaplen 96 --sample 1/100 | wireshark -k -i -",
		GroupID:           groupSee,
		Args:              arguments(1, -1),
		ValidArgsFunction: s.completeKind(api.KindPort),
		RunE: func(c *cobra.Command, args []string) error {
			return s.capture(c.Context(), args[0], strings.Join(args[1:], " "), o)
		},
	}
	f := c.Flags()
	f.StringVarP(&o.file, "write", "w", "", "write to this `FILE`; - is the standard output")
	f.StringVar(&o.direction, "direction", api.CaptureBoth, "in: what the workload gets, out: what it sends, or both")
	f.Uint64Var(&o.count, "count", 0, "end after so many packets")
	f.DurationVar(&o.duration, "duration", 0, "end after this time")
	f.IntVar(&o.length, "snaplen", 0, "keep only so many bytes of each packet")
	f.StringVar(&o.sample, "sample", "", "keep one of N packets, at random: `1/N`")
	return c
}

// captureOptions are its flags.
type captureOptions struct {
	file, direction, sample string
	count                   uint64
	duration                time.Duration
	length                  int
}

const (
	// capturePause is how long to wait when a host had nothing to tell.
	capturePause = 200 * time.Millisecond
	// capturePatience is for a host that does not answer for a while. It ends the
	// capture by itself at about that time.
	capturePatience = 10 * time.Second
)

// question reads the flags.
func (o captureOptions) question(text string) (q api.CaptureQuestion, err error) {
	if _, err := filter.Parse(text); err != nil {
		return q, usagef("%v", err)
	}
	q = api.CaptureQuestion{ID: uuid.NewString(), Filter: text, Direction: o.direction, Length: o.length, Count: o.count, Duration: o.duration, Begin: true}
	switch {
	case o.direction != api.CaptureIn && o.direction != api.CaptureOut && o.direction != api.CaptureBoth:
		return q, usagef("--direction is in, out or both")
	case o.length < 0 || o.duration < 0:
		return q, usagef("--snaplen and --duration are positive")
	}
	if o.sample != "" {
		n, err := strconv.ParseUint(strings.TrimPrefix(o.sample, "1/"), 10, 31)
		if err != nil || n == 0 || !strings.HasPrefix(o.sample, "1/") {
			return q, usagef("--sample is 1/N, as 1/100")
		}
		q.OneOf = uint32(n)
	}
	return q, nil
}

func (s *session) capture(ctx context.Context, name, text string, o captureOptions) error {
	q, err := o.question(text)
	if err != nil {
		return err
	}
	if file, is := s.Out.(*os.File); is && (o.file == "" || o.file == "-") && term.IsTerminal(int(file.Fd())) {
		return usagef("packets are no text: pipe them into tcpdump -r - or Wireshark, or write them with -w FILE")
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	port, err := s.workload(ctx, c, "capture", name)
	if err != nil {
		return err
	}
	if port.Status.Host == "" {
		return fmt.Errorf("capture of port %s: it is bound to no host: weft why port %s", port.Meta.FQName, port.Meta.FQName)
	}
	q.Port = port.Meta.UUID
	t := &taking{session: s, client: c, host: api.Ref{Name: port.Status.Host}, port: port.Meta.FQName, question: q, out: s.Out}
	if o.file == "" || o.file == "-" {
		return t.run(ctx)
	}
	file, err := os.OpenFile(o.file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write packets: %w", err)
	}
	t.out = file
	return errors.Join(t.run(ctx), file.Close())
}

// taking is a capture from here.
type taking struct {
	session  *session
	client   *client.Client
	host     api.Ref
	port     string
	question api.CaptureQuestion
	out      io.Writer
	writer   *pcapgo.NgWriter
	state    api.CaptureState
	written  uint64
}

// run takes frames until the capture ends, or the user ends it.
func (t *taking) run(ctx context.Context) error {
	bad := t.take(ctx)
	if ctx.Err() != nil { // the user's end
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		t.question.Stop = true
		bad = t.take(last)
	}
	if t.writer == nil {
		return bad
	}
	now := time.Now()
	return errors.Join(bad, t.writer.WriteInterfaceStats(0, pcapgo.NgInterfaceStatistics{
		LastUpdate: now, StartTime: t.state.Began, EndTime: now, PacketsReceived: t.state.Matched, PacketsDropped: t.state.Lost,
	}), t.writer.Flush(), t.summary())
}

func (t *taking) summary() error {
	fmt.Fprintf(t.session.Err, "%d packets written, %d matched", t.written, t.state.Matched)
	if t.state.PassedOver > 0 {
		fmt.Fprintf(t.session.Err, ", %d passed over by sampling", t.state.PassedOver)
	}
	fmt.Fprintf(t.session.Err, ", %d lost because they came too fast\n", t.state.Lost)
	return nil
}

// take asks until there are no more frames.
func (t *taking) take(ctx context.Context) error {
	answered := time.Now()
	for {
		err := t.ask(ctx)
		var e *api.Error
		away := errors.As(err, &e) && (e.Code == api.CodeUnavailable || e.Code == api.CodeTimeout)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil
		case err != nil && (!away || t.writer == nil || time.Since(answered) > capturePatience):
			return err
		case err == nil:
			answered = time.Now()
			if t.state.More {
				continue
			}
			if t.state.Ended != "" {
				return t.why()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(capturePause):
		}
	}
}

// why tells why a capture ended that was not to end.
func (t *taking) why() error {
	enough := t.question.Count > 0 && t.written >= t.question.Count || t.question.Duration > 0 && time.Since(t.state.Began) >= t.question.Duration
	if t.question.Stop || enough {
		return nil
	}
	return fmt.Errorf("capture of port %s on host %s ended: %s", t.port, t.host.Name, t.state.Ended)
}

// ask puts one question and writes the answer.
func (t *taking) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	table, err := t.client.HostTable(ctx, t.host, t.question.Table())
	if err != nil {
		return err
	}
	state, frames, err := api.ParseCapture(table)
	if err != nil {
		return err
	}
	t.state, t.question.Begin = state, false
	if t.writer == nil {
		if err := t.open(); err != nil {
			return err
		}
	}
	for _, f := range frames {
		if f.Sequence <= t.question.After {
			continue // of an answer that came twice
		}
		direction := pcapgo.NgEpbFlagDirectionOutbound
		if f.In {
			direction = pcapgo.NgEpbFlagDirectionInbound
		}
		info := gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(f.Bytes), Length: max(f.Length, len(f.Bytes))}
		if err := t.writer.WritePacketWithOptions(info, f.Bytes, pcapgo.NgPacketOptions{Flags: &pcapgo.NgEpbFlags{Direction: direction}}); err != nil {
			return fmt.Errorf("write packets: %w", err)
		}
		t.question.After = f.Sequence
		t.written++
	}
	if err := t.writer.Flush(); err != nil {
		return fmt.Errorf("write packets: %w", err)
	}
	return nil
}

// open begins the file, when the host has said which interface it is.
func (t *taking) open() (err error) {
	length := uint32(t.question.Length)
	comment := "direction " + t.question.Direction
	if t.question.OneOf > 1 {
		comment += fmt.Sprintf(", one of %d packets", t.question.OneOf)
	}
	t.writer, err = pcapgo.NewNgWriterInterface(t.out, pcapgo.NgInterface{
		Name: t.port, Description: fmt.Sprintf("port %s on host %s, interface %s", t.port, t.host.Name, t.state.Interface),
		Comment: comment, Filter: t.question.Filter, LinkType: layers.LinkTypeEthernet, SnapLength: length,
	}, pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "weft " + t.session.Version}})
	if err != nil {
		return fmt.Errorf("write packets: %w", err)
	}
	return t.writer.Flush()
}
