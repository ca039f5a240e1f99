// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-network/weft/api"
)

const traceLong = `Say what becomes of a packet that the workload of a port sends: stage by stage on
the port's host, then, if it goes through a tunnel, on the host of the receiving
port, and the same for the answer on its way back. Nothing is sent and nothing
changes: each host runs its packet path's own programs, built to record instead
of acting, on its live tables.

A port is named by itself, by the virtual-machine that has no other, or by its
name in DNS. Of policy each layer is shown that was asked, at both ends, with the
rule that decided, where that comes from, and whether it logs. If policy ends the
packet, the last lines say what would have to change.

One end may be a host, by its name or as host/NAME where a port has that name,
too: what the host itself sends (a kubelet that tries its workloads), by the way
that the host's own routes say, and what workloads send to the host's own address.

Where a network carries frames and not packets, --to-mac and ports without an
address are for what goes by its MAC.

The last column says how each line is known: traced by these programs, read from
the host's tables, or queried: what the kernel says of the parts beside them (the
host's own route, the underlay's, the neighbour, the tunnel device).

The exit code is 1 if the packet or its answer does not arrive.`

func newTrace(s *session) *cobra.Command {
	var o traceOptions
	c := &cobra.Command{
		Use:   "trace --from PORT|HOST --to PORT|HOST|ADDRESS",
		Short: "Say what becomes of a packet, without sending it",
		Long:  traceLong,
		Example: "  weft trace --from web-1 --to db-1 --proto tcp --dport 5432\n  weft trace --from web-1 --to 2001:db8::5 --size 1500\n  weft trace --from host/h1 --to web-1 --proto tcp --dport 8080\n" +
			"  weft trace --from web-1 --to-mac 02:00:00:00:00:0b\n  weft trace --from web-1 --to 10.0.0.5 -o json",
		GroupID: groupSee,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return s.trace(c.Context(), o) },
	}
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "`PORT` whose workload sends the packet, or host that does; with --port the source address")
	f.StringVar(&o.port, "port", "", "the same `PORT`, where --from is an address")
	f.StringVar(&o.source, "source", "", "source `ADDRESS`; the sender's own when absent")
	f.Uint16Var(&o.vlan, "from-vlan", 0, "the packet comes with this VLAN tag: from the sub-port of the port")
	f.StringVar(&o.to, "to", "", "destination: a `PORT`, a host, or an address")
	f.StringVar(&o.toMAC, "to-mac", "", "destination `MAC`, which the workload asks nobody for; without --to the frame is no packet")
	f.StringVar(&o.ethertype, "ethertype", "", "`NUMBER` of a frame that is no packet, 0x88b5 when absent")
	f.BoolVar(&o.six, "ipv6", false, "to the IPv6 address of the port; IPv4 comes first")
	f.StringVar(&o.protocol, "proto", "icmp", "`PROTOCOL` by its name in rules, as tcp, udp, sctp or icmp, or by its number")
	f.StringVar(&o.icmp, "icmp", "", "`TYPE[/CODE]` of ICMP; an echo request when absent. Of others no answer is tried")
	f.Uint16Var(&o.dport, "dport", 0, "destination port of protocols that have ports")
	f.Uint16Var(&o.sport, "sport", 0, "source port of these, 40000 when absent; identifier of an echo")
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
	icmp, toMAC, ethertype                   string
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
	if o.port == "" || o.to == "" && o.toMAC == "" {
		return q, usagef("--from and --to are required")
	}
	q = api.TraceQuestion{Protocol: o.protocol, SourcePort: o.sport, DestinationPort: o.dport, Hops: o.hops, Size: o.size}
	q.To, _ = netip.ParseAddr(o.to) // else a port or a host
	if err := o.spoken(&q); err != nil {
		return q, err
	}
	if err := o.frame(&q); err != nil {
		return q, err
	}
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

// spoken checks the flags of the protocol. Older agents know three names, and all numbers.
func (o *traceOptions) spoken(q *api.TraceQuestion) error {
	q.Protocol = strings.ToLower(o.protocol)
	echo := slices.Contains([]string{"", "icmp", "icmpv6"}, q.Protocol)
	n, known := api.Protocol(q.Protocol).Number()
	switch {
	case !echo && !known:
		return usagef("--proto %s: want a name that rules know, as tcp, udp, sctp or icmp, or a number from 0 to 255", o.protocol)
	case !echo && !slices.Contains([]string{"tcp", "udp"}, q.Protocol):
		q.Protocol = strconv.Itoa(n)
	}
	if o.icmp == "" {
		return nil
	}
	if _, _, err := api.ICMPMessage(o.icmp); err != nil {
		return usagef("--icmp: %v", err)
	}
	if !echo && n != 1 && n != 58 {
		return usagef("--icmp is of --proto icmp, not of %s", o.protocol)
	}
	q.ICMP = o.icmp
	return nil
}

// frame checks the flags of what goes by its MAC.
func (o *traceOptions) frame(q *api.TraceQuestion) error {
	if o.toMAC != "" {
		raw, err := api.MAC(o.toMAC).Bytes()
		if err != nil {
			return usagef("--to-mac: %q is not a MAC", o.toMAC)
		}
		q.ToMAC = api.MAC(net.HardwareAddr(raw[:]).String())
	}
	if o.ethertype == "" {
		return nil
	}
	n, err := strconv.ParseUint(o.ethertype, 0, 16)
	if err != nil || q.To.IsValid() {
		return usagef("--ethertype %s: want a number of 16 bits, for a frame that goes to no address", o.ethertype)
	}
	q.Ethertype = uint16(n)
	return nil
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
	// Meant is the port that it was for, where another one got it.
	Meant string `json:"meant,omitempty"`
	// Translated: it arrives with a member's own address and port in place of the
	// virtual ones, or with other addresses for a floating one. Its answer is translated back by what its conversation left at the
	// member's host, and is not traced: there is no conversation.
	Translated bool `json:"translated,omitempty"`
	// Unknown says why the packet could not be followed further.
	Unknown string `json:"unknown,omitempty"`
	// Remedy says what would have to change, where policy ended the packet.
	Remedy string `json:"remedy,omitempty"`
}

type traceView struct {
	Port  string     `json:"port,omitempty"` // that sends
	Host  string     `json:"host,omitempty"` // that sends, if no port does
	To    netip.Addr `json:"to,omitzero"`
	ToMAC api.MAC    `json:"toMAC,omitempty"` // of a frame
	Ways  []traceWay `json:"ways"`
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
	from, to, err := s.traceEnds(ctx, c, o, &q)
	if err != nil {
		return err
	}
	q.ICMP = otherThanEcho(q)
	host, err := from.asked()
	if err != nil {
		return err
	}
	v := traceView{To: q.To, ToMAC: q.ToMAC}
	if from.host != nil {
		v.Host = host.Name
	} else {
		v.Port = from.port.Meta.FQName
	}
	forward, end, err := followTrace(ctx, c, "forward", host, q, from, to)
	if err != nil {
		return err
	}
	v.Ways = append(v.Ways, forward)
	if back, is := answerTo(q, from, to, forward, end); is && !o.oneWay {
		way, _, err := followTrace(ctx, c, "reverse", api.Ref{Name: end.Host}, back, to, from)
		if err != nil {
			return err
		}
		v.Ways = append(v.Ways, way)
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

// hidden are items for those who follow a packet further.
var hidden = map[string]bool{
	api.TraceFrom: true, api.TraceTo: true, api.TraceProtocol: true, api.TraceReceiver: true, api.TraceRemote: true,
	api.TraceLocal: true, api.TraceVNI: true, api.TraceNextHost: true, api.TraceFrame: true, api.TraceFrameSize: true,
	api.TraceFromMAC: true, api.TraceLabelled: true,
}

// title is both ends of a packet.
func (v traceView) title() string {
	from, to := v.Port, string(v.ToMAC)
	if v.Host != "" {
		from = "host " + v.Host
	}
	if v.To.IsValid() {
		to = v.To.String()
	}
	return from + " to " + to
}

func (s *session) printTrace(v traceView) error {
	for i, w := range v.Ways {
		if i > 0 {
			fmt.Fprintln(s.Out)
		}
		title := "from " + v.title()
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
		switch {
		case w.Translated && !w.passed("balance"):
			fmt.Fprintln(s.Out, "   addresses are translated on the way, for one of the ends has a floating address: it sees its own in place of that; the answer, which goes back as it came, is not traced")
		case w.Translated:
			fmt.Fprintln(s.Out, "   a member of a load-balancer: it sees its own address and port in place of the virtual ones; the answer, which goes back as it came, is not traced")
		}
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
	case w.Meant != "":
		return "=> it arrives at " + last.items["workload"] + " on " + last.Host + ", which has the address in that network, and not at " + w.Meant
	case w.Arrived && last.Verdict == "delivered":
		return "=> it arrives at " + last.items["workload"] + " on " + last.Host
	case w.Arrived && last.Verdict == "passed":
		return "=> it arrives at host " + last.Host + " itself"
	case w.Arrived:
		return "=> it is " + last.Verdict + " on " + last.Host
	case last.Verdict == "none":
		return "=> nothing is sent: " + last.Text
	case last.Verdict == "answered":
		how := "an ICMP error"
		refused := slices.Contains([]string{"policy-rejected", "no-listener", "no-member"}, last.Reason)
		if refused && w.Hops[0].items[api.TraceProtocol] == "6" {
			how = "a TCP reset"
		}
		return "=> it ends on " + last.Host + " as " + last.Reason + ", and the sender is told by " + how + ": " + last.Text
	}
	return "=> it ends on " + last.Host + ", " + last.Verdict + " as " + last.Reason + ": " + last.Text
}
