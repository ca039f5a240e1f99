// SPDX-License-Identifier: Apache-2.0

package command

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
)

// answerTo is the question for the answer to a packet that arrived; false if
// nobody is known who would give one, or it cannot be tried.
func answerTo(q api.TraceQuestion, from, to traceEnd, forward traceWay, end traceHop) (back api.TraceQuestion, is bool) {
	first := forward.Hops[0]
	receiver := end.items[api.TraceReceiver]
	if !forward.Arrived || forward.Translated || receiver == "" && to.host == nil || first.items[api.TraceOneWay] != "" || q.ICMP != "" {
		return q, false
	}
	back = q
	back.Port, back.Host, back.Reply, back.Hops = receiver, receiver == "", true, 0
	back.ReplyToHost = q.Host && len(forward.Hops) == 1
	if !q.To.IsValid() {
		back.ToMAC = api.MAC(first.items[api.TraceFromMAC])
		return back, back.ToMAC != ""
	}
	if back.ToMAC != "" && to.port != nil && back.ToMAC == to.port.Spec.MAC && from.port != nil {
		back.ToMAC = from.port.Spec.MAC
	} else {
		back.ToMAC = "" // the answer's sender asks for itself
	}
	back.SourcePort, back.DestinationPort = q.DestinationPort, q.SourcePort
	if n, _ := strconv.Atoi(first.items[api.TraceProtocol]); n == 1 || n == 58 { // an echo keeps its identifier
		back.SourcePort, back.DestinationPort = q.SourcePort, q.DestinationPort
	}
	back.From, _ = netip.ParseAddr(first.items[api.TraceTo])
	back.To, _ = netip.ParseAddr(first.items[api.TraceFrom])
	return back, true
}

// otherThanEcho is the type and code of ICMP that a question is about, where that is
// not an echo request, which alone has a conversation and an answer that is known.
func otherThanEcho(q api.TraceQuestion) string {
	kind, code, err := api.ICMPMessage(q.ICMP)
	if err == nil && code == 0 && (q.To.Is6() && kind == 128 || !q.To.Is6() && kind == 8) {
		return ""
	}
	return q.ICMP
}

// followTrace asks the host of the sender, and the one that the packet goes on
// to. It returns what the last of them said.
func followTrace(ctx context.Context, c *client.Client, name string, host api.Ref, q api.TraceQuestion, from, to traceEnd) (w traceWay, last traceHop, err error) {
	w.Way = name
	ctx, cancel := context.WithTimeout(ctx, 4*askTimeout)
	defer cancel()
	first, err := askTrace(ctx, c, host, q)
	if err != nil {
		return w, first, err
	}
	w.Hops, last = []traceHop{first}, first
	next, onward := api.Ref{}, api.TraceQuestion{}
	switch first.Verdict {
	case "tunnelled":
		next, w.Unknown = hostAt(ctx, c, first.items[api.TraceRemote])
		onward = tunnelled(first)
	case "routed":
		next, w.Unknown = hostBeyond(ctx, c, first, q, to)
		onward.Uplink = true
	}
	if w.Unknown != "" {
		return w, last, nil
	}
	if !next.IsZero() {
		onward.Frame, onward.Reply = first.items[api.TraceFrame], q.Reply
		onward.FrameSize, _ = strconv.Atoi(first.items[api.TraceFrameSize])
		last, err = askTrace(ctx, c, next, onward)
		if err != nil {
			w.Unknown = "host " + next.String() + ", where it would arrive: " + oneLine(err.Error())
			return w, last, nil
		}
		w.Hops = append(w.Hops, last)
	}
	w.end(last, to)
	if !w.Arrived {
		w.Remedy = cmp.Or(remedy(ownerOf(ctx, c), last, q), ending{first, last, q, from, to}.change())
	}
	if last.Verdict == "none" && q.Host && to.port != nil { // the kernel has no route, as where nobody made it one
		if _, why := hostBeyond(ctx, c, last, q, to); why != "" {
			w.Remedy = why
		}
	}
	return w, last, nil
}

// end says whether a packet has arrived, or why that is not known.
func (w *traceWay) end(last traceHop, to traceEnd) {
	elsewhere := to.host != nil && last.Host != to.host.Meta.Name
	switch last.Verdict {
	case "routed":
		w.Unknown = "it travels without encapsulation, and the underlay carries it on"
	case "passed":
		if w.Arrived = to.host != nil && !elsewhere; !w.Arrived {
			w.Unknown = "the host itself gets it, for it knows no workload there"
		}
	case "flooded":
		w.Unknown = "its copies go to all of its network"
	case "hosted":
		if w.Arrived = !elsewhere; elsewhere {
			w.Unknown = "the host's own routing carries it on"
		}
	case "delivered", "handed":
		other := last.items[api.TraceReceiver]
		if w.Arrived = to.port == nil || other == "" || other == to.port.Meta.UUID; !w.Arrived {
			w.Meant = to.port.Meta.FQName
		}
		w.Translated = w.Arrived && (w.passed("balance") || w.passed("map"))
	case "answered": // by the vRouter, for whom it was; unless the answer is an error
		w.Arrived = last.Reason == ""
	}
}

// passed tells whether a frame went through a stage, at any of the hosts.
func (w *traceWay) passed(stage string) bool {
	return slices.ContainsFunc(w.Hops, func(h traceHop) bool {
		return slices.ContainsFunc(h.Steps, func(s traceStep) bool { return s.Item == api.TraceStage && s.Value == stage+": passed" })
	})
}

// tunnelled is the question to the host that a tunnel leads to, but for the frame.
func tunnelled(first traceHop) (q api.TraceQuestion) {
	if q.Labelled = first.items[api.TraceLabelled] == "true"; q.Labelled {
		return q
	}
	vni, _ := strconv.ParseUint(first.items[api.TraceVNI], 10, 32)
	q.VNI = uint32(vni)
	q.Source, _ = netip.ParseAddr(first.items[api.TraceLocal])
	return q
}

// hostBeyond finds the host that a packet without encapsulation is for: as the
// host that sends it says, or the receiver's; none if nobody knows. It says why
// the packet does not come there by the packet path.
func hostBeyond(ctx context.Context, c *client.Client, first traceHop, q api.TraceQuestion, to traceEnd) (api.Ref, string) {
	if next := first.items[api.TraceNextHost]; next != "" {
		return api.Ref{Name: next}, ""
	}
	if to.host != nil && to.host.Meta.Name != first.Host {
		return api.Ref{Name: to.host.Meta.Name}, ""
	}
	if to.port == nil || to.port.Status.Host == "" {
		return api.Ref{}, ""
	}
	network, err := client.Get[*api.Network](ctx, c, to.port.Spec.Network)
	switch {
	case err != nil:
		return api.Ref{}, "network " + to.port.Spec.Network.String() + " of the receiver: " + oneLine(err.Error())
	case len(network.Spec.Encapsulation) > 0 && network.Spec.Encapsulation[0] == "none":
		return api.Ref{Name: to.port.Status.Host}, ""
	case q.Host && to.port.Status.Host != first.Host:
		return api.Ref{}, "the port is on " + to.port.Status.Host + ", and only the own host of a workload sees network " + network.Meta.FQName
	case q.Host && !network.Spec.HostVisible:
		return api.Ref{}, "the host does not see network " + network.Meta.FQName + ": hostVisible of the network is false"
	}
	return api.Ref{}, ""
}

// askTrace asks one host.
func askTrace(ctx context.Context, c *client.Client, host api.Ref, q api.TraceQuestion) (traceHop, error) {
	h := traceHop{Host: host.Name, items: map[string]string{}, Steps: []traceStep{}}
	t, err := c.HostTable(ctx, host, q.Table())
	if err != nil && strings.Contains(err.Error(), api.TraceNoSuchWord) {
		return h, fmt.Errorf("%w; its agent is older than this weft and cannot try such a packet: upgrade weft-agent there", err)
	}
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
