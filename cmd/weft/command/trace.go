// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

func newTrace(s *session) *cobra.Command {
	var o traceOptions
	c := &cobra.Command{
		Use:   "trace --from PORT --to PORT|ADDRESS",
		Short: "Say what becomes of a packet, without sending it",
		Long: `Say what becomes of a packet that the workload of a port sends: stage by stage on
the port's host, then, if it goes through a tunnel, on the host of the receiving
port, and the same for the answer on its way back. Nothing is sent and nothing
changes: each host runs its packet path's own programs, built to record instead
of acting, on its live tables.

A port is named by itself, by the virtual-machine that has no other, or by its
name in DNS. Of policy each layer is shown that was asked, at both ends, with the
rule that decided and where that comes from. If policy ends the packet, the last
lines say what would have to change.

The last column says how each line is known: traced by these programs, read from
the host's tables, or queried: what the kernel says of the parts beside them (the
underlay's route, the neighbour, the tunnel device).

The exit code is 1 if the packet or its answer does not arrive.`,
		Example: "  weft trace --from web-1 --to db-1 --proto tcp --dport 5432\n  weft trace --from web-1 --to 2001:db8::5 --size 1500\n  weft trace --from web-1 --to 10.0.0.5 -o json",
		GroupID: groupSee,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return s.trace(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "`PORT` whose workload sends the packet; with --port the source address")
	f.StringVar(&o.port, "port", "", "the same `PORT`, where --from is an address")
	f.StringVar(&o.source, "source", "", "source `ADDRESS`; the port's own when absent")
	f.Uint16Var(&o.vlan, "from-vlan", 0, "the packet comes with this VLAN tag: from the sub-port of the port")
	f.StringVar(&o.to, "to", "", "destination: a `PORT` or an address")
	f.BoolVar(&o.six, "ipv6", false, "to the IPv6 address of the port; IPv4 comes first")
	f.StringVar(&o.protocol, "proto", "icmp", "tcp, udp, icmp or a number")
	f.Uint16Var(&o.dport, "dport", 0, "destination port of tcp and udp")
	f.Uint16Var(&o.sport, "sport", 0, "source port of tcp and udp, 40000 when absent; identifier of an echo")
	f.IntVar(&o.size, "size", 0, "bytes of the IP packet; as few as there can be when absent")
	f.IntVar(&o.hops, "ttl", 0, "TTL or hop limit, 64 when absent")
	f.BoolVar(&o.oneWay, "one-way", false, "not the answer")
	outputFlag(c, &o.output, formatJSON, formatYAML)
	for _, name := range []string{"from", "port", "to"} {
		_ = c.RegisterFlagCompletionFunc(name, s.completeKind(api.KindPort))
	}
	return c
}

type traceOptions struct {
	port, to, from, source, protocol, output string
	dport, sport, vlan                       uint16
	size, hops                               int
	oneWay, six                              bool
}

// question checks the flags.
func (o *traceOptions) question() (q api.TraceQuestion, err error) {
	if o.port == "" {
		o.port = o.from
	} else if o.from != "" {
		o.source = o.from // as it was before --from took a port
	}
	if o.port == "" || o.to == "" {
		return q, usagef("--from and --to are required")
	}
	q = api.TraceQuestion{Protocol: o.protocol, SourcePort: o.sport, DestinationPort: o.dport, Hops: o.hops, Size: o.size}
	q.To, _ = netip.ParseAddr(o.to) // else a port
	if _, err := netip.ParseAddr(o.port); err == nil {
		return q, usagef("--from %s: name the port that sends; --source is for its address", o.port)
	}
	if o.source != "" {
		if q.From, err = netip.ParseAddr(o.source); err != nil {
			return q, usagef("--source: %q is not an IP address", o.source)
		}
	}
	if q.Hops < 0 || q.Hops > 255 || q.Size < 0 {
		return q, usagef("--ttl is from 1 to 255 and --size is not negative")
	}
	if q.SourcePort == 0 {
		q.SourcePort = 40000
	}
	return q, nil
}

// traceHop is what one host says.
type traceHop struct {
	Host    string      `json:"host"`
	Verdict string      `json:"verdict"`
	Reason  string      `json:"reason,omitempty"`
	Text    string      `json:"text,omitempty"`
	Steps   []traceStep `json:"steps"`
	// Policy is the layers that were asked, in order.
	Policy []api.PolicyStep `json:"policy,omitempty"`

	items map[string]string // the last of each name
}

type traceStep struct {
	Item  string `json:"item"`
	Value string `json:"value"`
	How   string `json:"how"`
}

// traceWay is a packet's way over one host or two.
type traceWay struct {
	Way     string     `json:"way"` // forward or reverse
	Arrived bool       `json:"arrived"`
	Hops    []traceHop `json:"hops"`
	// Unknown says why the packet could not be followed further.
	Unknown string `json:"unknown,omitempty"`
	// Remedy says what would have to change, where policy ended the packet.
	Remedy string `json:"remedy,omitempty"`
}

type traceView struct {
	Port string     `json:"port"`
	To   netip.Addr `json:"to"`
	Ways []traceWay `json:"ways"`
}

func (s *session) trace(ctx context.Context, o traceOptions) error {
	q, err := o.question()
	if err != nil {
		return err
	}
	c, err := s.connect()
	if err != nil {
		return err
	}
	p, err := s.traceEnds(ctx, c, o, &q)
	if err != nil {
		return err
	}
	if p.Status.Host == "" {
		return fmt.Errorf("trace from port %s: it is bound to no host: weft why port %s", p.Meta.FQName, p.Meta.FQName)
	}
	v := traceView{Port: p.Meta.FQName, To: q.To}
	q.Port = p.Meta.UUID
	forward, end, err := followTrace(ctx, c, "forward", api.Ref{Name: p.Status.Host}, q)
	if err != nil {
		return err
	}
	v.Ways = append(v.Ways, forward)
	if receiver := end.items[api.TraceReceiver]; forward.Arrived && !o.oneWay && receiver != "" {
		back, _, err := followTrace(ctx, c, "reverse", api.Ref{Name: end.Host}, answerTo(q, receiver, forward.Hops[0]))
		if err != nil {
			return err
		}
		v.Ways = append(v.Ways, back)
	}
	done, err := s.encode(o.output, v)
	if !done && err == nil {
		err = s.printTrace(v)
	}
	if err != nil {
		return err
	}
	for _, w := range v.Ways {
		if !w.Arrived {
			return errNotWell
		}
	}
	return nil
}

// answerTo is the question for the answer to a packet that arrived.
func answerTo(q api.TraceQuestion, receiver string, first traceHop) api.TraceQuestion {
	q.Port, q.Reply = receiver, true
	q.SourcePort, q.DestinationPort = q.DestinationPort, q.SourcePort
	if n, _ := strconv.Atoi(first.items[api.TraceProtocol]); n == 1 || n == 58 { // an echo keeps its identifier
		q.SourcePort, q.DestinationPort = q.DestinationPort, q.SourcePort
	}
	q.From, _ = netip.ParseAddr(first.items[api.TraceTo])
	q.To, _ = netip.ParseAddr(first.items[api.TraceFrom])
	q.Hops = 0
	return q
}

// followTrace asks the host of the sender, and the one that a tunnel leads to.
// It returns what the last of them said.
func followTrace(ctx context.Context, c *client.Client, name string, host api.Ref, q api.TraceQuestion) (w traceWay, last traceHop, err error) {
	w.Way = name
	ctx, cancel := context.WithTimeout(ctx, 4*askTimeout)
	defer cancel()
	first, err := askTrace(ctx, c, host, q)
	if err != nil {
		return w, first, err
	}
	w.Hops, last = []traceHop{first}, first
	if first.Verdict == "tunnelled" {
		next, why := hostAt(ctx, c, first.items[api.TraceRemote])
		if w.Unknown = why; why != "" {
			return w, last, nil
		}
		size, _ := strconv.Atoi(first.items[api.TraceFrameSize])
		vni, _ := strconv.ParseUint(first.items[api.TraceVNI], 10, 32)
		source, _ := netip.ParseAddr(first.items[api.TraceLocal])
		last, err = askTrace(ctx, c, next, api.TraceQuestion{VNI: uint32(vni), Source: source, Frame: first.items[api.TraceFrame], FrameSize: size, Reply: q.Reply})
		if err != nil {
			w.Unknown = "host " + next.String() + ", where it would arrive: " + oneLine(err.Error())
			return w, last, nil
		}
		w.Hops = append(w.Hops, last)
	}
	if next := first.items[api.TraceNextHost]; first.Verdict == "routed" && next != "" {
		size, _ := strconv.Atoi(first.items[api.TraceFrameSize])
		last, err = askTrace(ctx, c, api.Ref{Name: next}, api.TraceQuestion{Uplink: true, Frame: first.items[api.TraceFrame], FrameSize: size, Reply: q.Reply})
		if err != nil {
			w.Unknown = "host " + next + ", where it would arrive: " + oneLine(err.Error())
			return w, last, nil
		}
		w.Hops = append(w.Hops, last)
	}
	switch last.Verdict {
	case "routed":
		w.Unknown = "it travels without encapsulation, and the underlay carries it on"
	case "passed":
		w.Unknown = "the host itself gets it, for it knows no workload there"
	case "flooded":
		w.Unknown = "its copies go to all of its network"
	case "delivered", "hosted", "handed":
		w.Arrived = true
	case "answered": // by the vRouter, for whom it was; unless the answer is an error
		w.Arrived = last.Reason == ""
	}
	if !w.Arrived {
		w.Remedy = remedy(ownerOf(ctx, c), last, q)
	}
	return w, last, nil
}

// askTrace asks one host.
func askTrace(ctx context.Context, c *client.Client, host api.Ref, q api.TraceQuestion) (traceHop, error) {
	h := traceHop{Host: host.Name, items: map[string]string{}, Steps: []traceStep{}}
	t, err := c.HostTable(ctx, host, q.Table())
	if err != nil {
		return h, err
	}
	for _, row := range t.Rows {
		if len(row) < 3 {
			continue
		}
		h.items[row[0]] = row[1]
		switch row[0] {
		case api.TraceVerdict:
			h.Verdict = row[1]
		case api.TraceReason:
			h.Reason = row[1]
		case api.TraceText:
			h.Text = row[1]
		case api.TracePolicy:
			var step api.PolicyStep
			if len(row) > 3 && json.Unmarshal([]byte(row[3]), &step) == nil { // a newer host's is shown in its words
				h.Policy = append(h.Policy, step)
			}
		}
		h.Steps = append(h.Steps, traceStep{row[0], row[1], row[2]})
	}
	return h, nil
}

// hostAt finds the host with a tunnel address, or says why not.
func hostAt(ctx context.Context, c *client.Client, address string) (api.Ref, string) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return api.Ref{}, "the tunnel leads to " + address + ", which is no address"
	}
	for o, err := range c.Pages(ctx, api.KindHost, client.ListOptions{Fields: []string{"spec.tunnelAddresses"}}) {
		if err != nil {
			return api.Ref{}, "hosts cannot be listed: " + oneLine(err.Error())
		}
		for _, x := range o.(*api.Host).Spec.TunnelAddresses {
			if x.Unmap() == a {
				return api.RefTo(o), ""
			}
		}
	}
	return api.Ref{}, "no host has the tunnel address " + address
}

// hidden are items for those who follow a packet further.
var hidden = map[string]bool{
	api.TraceFrom: true, api.TraceTo: true, api.TraceProtocol: true, api.TraceReceiver: true, api.TraceRemote: true,
	api.TraceLocal: true, api.TraceVNI: true, api.TraceNextHost: true, api.TraceFrame: true, api.TraceFrameSize: true,
}

func (s *session) printTrace(v traceView) error {
	for i, w := range v.Ways {
		if i > 0 {
			fmt.Fprintln(s.Out)
		}
		title := "from " + v.Port + " to " + v.To.String()
		if w.Way == "reverse" {
			title = "and the answer"
		}
		fmt.Fprintln(s.Out, s.printer.Title(title))
		t := api.Table{Columns: []string{"HOST", "ITEM", "VALUE", "HOW"}}
		for _, h := range w.Hops {
			for _, x := range h.Steps {
				if hidden[x.Item] {
					continue
				}
				if name, found, is := strings.Cut(x.Value, ": "); is && x.Item == api.TraceStage {
					x.Item, x.Value = "stage "+name, found
				}
				t.Rows = append(t.Rows, []string{h.Host, x.Item, x.Value, x.How})
			}
		}
		if err := s.printer.Print(t); err != nil {
			return err
		}
		fmt.Fprintln(s.Out, w.conclusion())
		if w.Remedy != "" {
			fmt.Fprintln(s.Out, "   "+w.Remedy)
		}
	}
	return nil
}

// conclusion is the way in one sentence.
func (w traceWay) conclusion() string {
	last := w.Hops[len(w.Hops)-1]
	switch {
	case w.Unknown != "":
		return "=> it leaves " + last.Host + "; what then is not known: " + w.Unknown
	case w.Arrived && last.Verdict == "delivered":
		return "=> it arrives at " + last.items["workload"] + " on " + last.Host
	case w.Arrived:
		return "=> it is " + last.Verdict + " on " + last.Host
	case last.Verdict == "none":
		return "=> nothing is sent: " + last.Text
	case last.Verdict == "answered":
		how := "an ICMP error"
		if last.Reason == "policy-rejected" && w.Hops[0].items[api.TraceProtocol] == "6" {
			how = "a TCP reset"
		}
		return "=> it ends on " + last.Host + " as " + last.Reason + ", and the sender is told by " + how + ": " + last.Text
	}
	return "=> it ends on " + last.Host + ", " + last.Verdict + " as " + last.Reason + ": " + last.Text
}
