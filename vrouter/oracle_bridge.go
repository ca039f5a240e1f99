// SPDX-License-Identifier: Apache-2.0

package vrouter

// refusal is what a frame would end for, where it came from, and what its
// network does.
type refusal struct {
	ifindex  int
	vrf      uint32
	key      *TunnelKey // nil: from a port
	labelled bool       // it came by a label
	bridge   bool
	f        parsed
}

// refusalOf begins the refusals of a frame from a port.
func (o *Oracle) refusalOf(ifindex int, f parsed) refusal {
	port := o.Ports[ifindex]
	return refusal{ifindex: ifindex, vrf: port.VRF, bridge: port.Bridge, f: f}
}

// bridgeable ends a frame for a reason, unless the bridge stage knows better.
func (o *Oracle) bridgeable(r refusal, otherwise Outcome) Outcome {
	if !r.bridge {
		return otherwise
	}
	if refused := r.f.refused; refused == "malformed" || refused == "too-many-extension-headers" {
		return dropped(r.f.frame, refused)
	}
	reason := otherwise.Reason
	unknown := reason == "unknown-protocol"
	source := r.f.ethSource
	if port := o.Ports[r.ifindex]; r.key == nil && unknown && source != port.MAC {
		if port.MACLimit == 0 && !port.Unchecked {
			return dropped(r.f.frame, "spoofed-mac")
		}
		if refused := o.otherMAC(r.ifindex, port, source); refused != "" {
			return dropped(r.f.frame, refused)
		}
	}
	if _, known := o.MACs[MACKey{r.vrf, source}]; r.key != nil && station(source) && !known {
		at := LearnedMAC{VNI: r.key.VNI, Remote: r.key.Remote}
		if refused := o.learn(r.vrf, source, at, learnedFromTunnel); refused != "" {
			return dropped(r.f.frame, refused)
		}
	}
	return o.bridge(r, otherwise, unknown)
}

func (o *Oracle) bridge(r refusal, otherwise Outcome, unknown bool) Outcome {
	byMAC := unknown || otherwise.Reason == "no-route" || otherwise.Reason == "route-left-out" || otherwise.Reason == "wrong-destination-mac" || otherwise.Reason == "unknown-mac"
	list, floods := o.Floods[r.vrf]
	if !floods && !byMAC {
		return otherwise
	}
	to := r.f.ethDestination
	switch {
	case to[0]&1 != 0 && floods:
		return o.flood(r, list)
	case to == MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		return dropped(r.f.frame, "broadcast")
	case to[0]&1 != 0:
		return dropped(r.f.frame, "multicast")
	}
	if hop, known := o.MACs[MACKey{r.vrf, to}]; known {
		next := o.NextHops[hop]
		if next.Kind != NextHopPort && next.Kind != NextHopTunnel {
			return dropped(r.f.frame, "unknown-mac")
		}
		return o.byMAC(r, next)
	}
	if next, ok := o.learnedHop(MACKey{r.vrf, to}); ok {
		return o.byMAC(r, next)
	}
	if floods {
		return o.flood(r, list)
	}
	if unknown {
		return dropped(r.f.frame, "unknown-mac")
	}
	return otherwise
}

// learnedHop is where a learned MAC is, if that is still so.
func (o *Oracle) learnedHop(key MACKey) (NextHop, bool) {
	v, learned := o.Learned[key]
	if !learned {
		return NextHop{}, false
	}
	if v.Ifindex == 0 {
		mtu := o.Config.TunnelMTU4
		if v.Remote.Is6() {
			mtu = o.Config.TunnelMTU6
		}
		return NextHop{Kind: NextHopTunnel, VNI: v.VNI, Remote: v.Remote, MTU: mtu}, true
	}
	port, there := o.Ports[v.Ifindex]
	return NextHop{Kind: NextHopPort, Ifindex: v.Ifindex}, there && port.ID == v.Port && port.VRF == key.VRF
}

// takes tells whether a next hop takes a frame of that length.
func (o *Oracle) takes(next NextHop, frame []byte) bool {
	limit := next.MTU
	if next.Kind == NextHopPort {
		limit = o.Ports[next.Ifindex].MTU
	}
	return limit == 0 || len(frame)-14 <= limit
}

func (o *Oracle) byMAC(r refusal, next NextHop) Outcome {
	if next.Kind == NextHopPort {
		if next.Ifindex == r.ifindex {
			return consumed(r.f.frame, "same-port")
		}
		if port, there := o.Ports[next.Ifindex]; !there || port.VRF != r.vrf {
			return dropped(r.f.frame, "port-gone")
		}
	} else if r.key != nil {
		return dropped(r.f.frame, "tunnel-to-tunnel")
	}
	if r.f.isAsked() {
		if o.taken(next, o.plain(r)) {
			return dropped(r.f.frame, "mapping-taken")
		}
		refused := o.refuses(o.policed(r.sender(), r.ifindex, r.vrf, next, r.f))
		o.meets("frame", refused != "", o.Ports[r.sender()].Policed || next.Kind == NextHopPort && o.Ports[next.Ifindex].Policed)
		if refused != "" {
			return o.refusedByPolicy(r.ifindex, r.key != nil, next, r.f, refused)
		}
	}
	if !o.takes(next, r.f.frame) {
		return dropped(r.f.frame, "frame-too-big")
	}
	o.noteFrame(r, next)
	if next.Kind == NextHopPort {
		return o.deliver(next, r.f.frame)
	}
	return o.encapFrame(next, r.f.frame)
}

func (o *Oracle) flood(r refusal, list Flood) Outcome {
	asked := r.f.isAsked()
	if asked {
		refused := o.refuses(o.policed(r.sender(), r.ifindex, r.vrf, NextHop{}, r.f))
		o.meets("flood", refused != "", o.Ports[r.sender()].Policed)
		if refused != "" {
			return o.refusedByPolicy(r.ifindex, false, NextHop{}, r.f, refused)
		}
	}
	if r.key == nil && o.Stilled[r.ifindex] {
		return dropped(r.f.frame, "flood-limited")
	}
	out := Outcome{Verdict: "flooded", Frame: r.f.frame}
	if list.LeftOut > 0 {
		out.Reason = "flood-bound"
	}
	for place := range list.Places {
		hop, taken := o.Receivers[Receiver{r.vrf, place}]
		if !taken {
			continue
		}
		next := o.NextHops[hop]
		switch port := o.Ports[next.Ifindex]; {
		case next.Kind == NextHopPort && (next.Ifindex == r.ifindex || port.VRF != r.vrf || port.Disabled):
		case next.Kind == NextHopTunnel && r.key != nil:
		case next.Kind != NextHopPort && next.Kind != NextHopTunnel:
		case !o.takes(next, r.f.frame):
			if out.Reason == "" {
				out.Reason = "frame-too-big"
			}
		case next.Kind == NextHopPort && asked && o.refusesCopy(r, next):
		case next.Kind == NextHopPort:
			out.Copies = append(out.Copies, Copy{Redirect: next.Ifindex})
		default:
			if sent := o.encapFrame(next, r.f.frame); sent.Verdict == "tunnelled" {
				out.Copies = append(out.Copies, Copy{Redirect: sent.Redirect, Tunnel: sent.Tunnel})
			}
		}
	}
	o.noteFrame(r, NextHop{})
	return out
}

// isAsked tells of frames that rules hold for.
func (f parsed) isAsked() bool {
	return f.refused == "" && !f.arp && !f.isND() && !f.isMulticastListener()
}

// sender is the port that the frame came from, 0 if it is none.
func (r refusal) sender() int {
	if r.key != nil {
		return 0
	}
	return r.ifindex
}

// refusesCopy asks a port that would get a copy.
func (o *Oracle) refusesCopy(r refusal, next NextHop) bool {
	copied := o.policed(0, r.ifindex, r.vrf, next, r.f)
	copied.copied = true
	refused := o.refuses(copied)
	o.meets("copy", refused != "", o.Ports[next.Ifindex].Policed)
	return refused != ""
}

// meets counts what policy says of what tests want to see.
func (o *Oracle) meets(what string, refused, policed bool) {
	switch {
	case o.Met == nil || !policed:
	case !refused:
		o.Met[what+" passed"]++
	default:
		o.Met[what+" refused"]++
	}
}

// noteFrame remembers a frame that goes by its MAC. A next hop of none is that of many.
func (o *Oracle) noteFrame(r refusal, next NextHop) {
	if r.f.isAsked() {
		o.note(noted{ifindex: r.ifindex, vrf: r.vrf, fromTunnel: r.key != nil, frame: true}, next, Route{}, r.f)
	}
}

// station tells whether a MAC may be one station's that is not the gateway.
func station(m MAC) bool { return m != MAC{} && m != GatewayMAC && m[0]&1 == 0 }

// otherMAC checks, and perhaps learns, a source MAC that is not the port's.
func (o *Oracle) otherMAC(ifindex int, port Port, source MAC) string {
	if !station(source) {
		return "spoofed-mac"
	}
	if hop, known := o.MACs[MACKey{port.VRF, source}]; known {
		if next := o.NextHops[hop]; next.Kind != NextHopPort || next.Ifindex != ifindex {
			return "spoofed-mac"
		}
		return ""
	}
	if port.MACLimit == 0 {
		return ""
	}
	return o.learn(port.VRF, source, LearnedMAC{Ifindex: ifindex, Port: port.ID}, port.MACLimit)
}

// behind is the number that a learned MAC counts in.
func (o *Oracle) behind(vrf uint32, v LearnedMAC) MACCount {
	if v.Ifindex == 0 {
		return MACCount{vrf, o.Config.TunnelDevice}
	}
	return MACCount{vrf, v.Ifindex}
}

// learn notes where a MAC is. An oracle that does not keep what it learns only
// says whether it might.
func (o *Oracle) learn(vrf uint32, source MAC, at LearnedMAC, limit int) (refused string) {
	key := MACKey{vrf, source}
	old, was := o.Learned[key]
	at.Seen, at.Moved = o.Tick, o.Tick-moveTicks
	same := old.Ifindex == at.Ifindex && old.Port == at.Port && old.VNI == at.VNI && old.Remote == at.Remote
	if was && same {
		if o.Learns {
			old.Seen = o.Tick
			o.Learned[key] = old
		}
		return ""
	}
	if was {
		at.Moved, at.Moves = old.Moved, old.Moves+1
		if o.Tick-old.Moved >= moveTicks {
			at.Moved, at.Moves = o.Tick, 1
		}
		if at.Moves > maxMoves {
			return "mac-moving"
		}
	}
	here := o.behind(vrf, at)
	if moved := !was || o.behind(vrf, old) != here; moved && int(o.MACCounts[here]) >= limit {
		return "mac-limit"
	}
	if !was {
		if refused := o.noRoom(vrf); refused != "" {
			return refused
		}
	}
	if o.Learns {
		if was {
			o.MACCounts[o.behind(vrf, old)]--
		} else {
			o.MACCounts[MACCount{vrf, allMACs}]++
			o.MACCounts[freeMACs]--
		}
		o.MACCounts[here]++
		o.Learned[key] = at
	}
	return ""
}

// noRoom says why a network learns no further MAC, if that is so.
func (o *Oracle) noRoom(vrf uint32) string {
	network := 0
	for k := range o.Learned {
		if k.VRF == vrf {
			network++
		}
	}
	switch free := o.LearnedRoom - len(o.Learned); {
	case free <= 0:
		return "mac-table-full"
	case network >= free:
		return "mac-share"
	}
	return ""
}
