// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"net/netip"
	"strconv"

	"github.com/weft-network/weft/api"
)

// The hosts of transcripts answer traces as hosts would on which web-1 is on h1
// and web-2 on h2, in a network that prefers MPLS over UDP and whose own hosts
// see its workloads; policy lets nothing in.

// tracedRows collects what a host says.
type tracedRows struct{ api.Table }

func (t *tracedRows) add(how string, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		t.Rows = append(t.Rows, []string{pairs[i], pairs[i+1], how})
	}
}

// trace is the answer of a host to a question.
func (f *fakeServer) trace(host, question string) (any, error) {
	if host == "old" { // an agent from before hosts were asked what they send
		return nil, api.Errorf(api.CodeInvalid, "read table trace: host %s: read question for a trace: host: no such word", host)
	}
	q, err := api.ParseTraceQuestion(question)
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "%v", err)
	}
	t := &tracedRows{api.Table{Columns: []string{"ITEM", "VALUE", "HOW"}}}
	switch {
	case q.Frame != "":
		f.traceArrival(t, host, q)
	case q.Host && !f.has(f.portOn(host), q.To):
		t.add(api.QueriedHow, "host route", q.To.String()+" from 192.0.2.2 on eth0 via 192.0.2.254", api.TraceVerdict, "routed")
		t.add(api.TracedHow, api.TraceFrame, "0a", api.TraceFrameSize, "98")
	case q.Host:
		source := q.From
		if !source.IsValid() {
			source = f.store.find(api.KindHost, api.Ref{Name: host}).(*api.Host).Spec.TunnelAddresses[0]
		}
		t.add(api.QueriedHow, "host route", q.To.String()+" from "+source.String()+" on weft0")
		t.add(api.ReadHow, api.TraceFrom, source.String(), api.TraceTo, q.To.String(), api.TraceProtocol, "6")
		t.add(api.TracedHow, api.TraceStage, "parse: passed", api.TraceStage, "enter: passed", api.TraceStage, "deliver: to interface veth1")
		f.traceDelivered(t, host)
	default:
		f.traceSent(t, host, q)
	}
	return t.Table, nil
}

// portOn is the port on a host.
func (f *fakeServer) portOn(host string) *api.Port {
	return f.store.find(api.KindPort, api.Ref{Name: "default-domain:default-project:web-" + host[1:]}).(*api.Port)
}

func (f *fakeServer) has(p *api.Port, address netip.Addr) bool {
	for _, o := range f.store.objects {
		if a, is := o.(*api.Address); is && a.Spec.Port.UUID == p.Meta.UUID && a.Spec.IP == address {
			return true
		}
	}
	return false
}

func (f *fakeServer) traceDelivered(t *tracedRows, host string) {
	p := f.portOn(host)
	t.add(api.TracedHow, api.TraceVerdict, "delivered", "workload", p.Meta.FQName, api.TraceReceiver, p.Meta.UUID)
}

// traceArrival is what comes from another host.
func (f *fakeServer) traceArrival(t *tracedRows, host string, q api.TraceQuestion) {
	switch {
	case q.Uplink:
		t.add(api.TracedHow, api.TraceVerdict, "passed")
		return
	case q.Labelled:
		t.add(api.ReadHow, "underlay", "MPLS over UDP, label 1")
		t.add(api.TracedHow, api.TraceStage, "unlabel: passed", api.TraceStage, "parse: passed", api.TraceStage, "route: passed")
	default:
		t.add(api.ReadHow, "tunnel", "VNI "+strconv.Itoa(int(q.VNI))+" from "+q.Source.String())
		t.add(api.TracedHow, api.TraceStage, "tunnel: passed", api.TraceStage, "bridge: passed")
	}
	f.traceDelivered(t, host)
}

// traceSent is what a workload sends: to its host, to the other port as a frame, or as a packet.
func (f *fakeServer) traceSent(t *tracedRows, host string, q api.TraceQuestion) {
	remote := map[string]string{"h1": "2001:db8::2", "h2": "192.0.2.1"}[host]
	if q.To.IsValid() {
		t.add(api.ReadHow, api.TraceFrom, q.From.String(), api.TraceTo, q.To.String(), api.TraceProtocol, "6")
		if !q.From.IsValid() {
			t.add(api.ReadHow, api.TraceFrom, "10.0.1.2")
		}
	} else {
		t.add(api.ReadHow, api.TraceFromMAC, string(f.portOn(host).Spec.MAC))
	}
	mine := f.store.find(api.KindHost, api.Ref{Name: host}).(*api.Host).Spec.TunnelAddresses[0]
	switch {
	case q.To == mine && q.Reply && !q.ReplyToHost: // an answer to nothing
		t.add(api.TracedHow, api.TraceVerdict, "dropped", api.TraceReason, "policy-denied", api.TraceText, "policy denies it")
	case q.To == mine:
		t.add(api.TracedHow, api.TraceStage, "leave: hosted", api.TraceVerdict, "hosted")
	case q.To.IsValid():
		t.add(api.TracedHow, api.TraceStage, "encap: label 1 to "+remote+" by MPLS over UDP", api.TraceStage, "label: passed",
			api.TraceVerdict, "tunnelled", api.TraceRemote, remote, api.TraceVNI, "1", api.TraceLocal, mine.String(), api.TraceFrame, "0a", api.TraceFrameSize, "128", api.TraceLabelled, "true")
	default:
		t.add(api.TracedHow, api.TraceStage, "bridge: passed", api.TraceStage, "encap: VNI 1 to "+remote,
			api.TraceVerdict, "tunnelled", api.TraceRemote, remote, api.TraceVNI, "1", api.TraceLocal, mine.String(), api.TraceFrame, "0a", api.TraceFrameSize, "60")
	}
}
