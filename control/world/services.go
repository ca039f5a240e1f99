// SPDX-License-Identifier: Apache-2.0

package world

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/weft-network/weft/api"
)

// applyServices reads the lines about what hosts tell their workloads. What is
// not there is left alone: random edits name such.
func (w *World) applyServices(f []string) {
	switch f[0] {
	case "machine":
		m := &api.VirtualMachine{}
		m.Spec.HostName = f[2]
		if len(f) > 3 {
			m.Spec.Within = Ref(api.KindVirtualMachine, f[3])
		}
		w.Put(m, api.KindVirtualMachine, f[1])
	case "runs":
		change(w, api.KindPort, f[2], func(p *api.Port) { p.Spec.VirtualMachine = Ref(api.KindVirtualMachine, f[1]) })
	case "called":
		change(w, api.KindPort, f[1], func(p *api.Port) {
			if p.Spec.DNSName = f[2]; len(f) > 3 {
				p.Spec.DNSDomain = f[3]
			}
		})
	case "domain":
		change(w, api.KindNetwork, f[1], func(n *api.Network) { n.Spec.DNSDomain = f[2] })
	case "serve":
		change(w, api.KindNetwork, f[1], func(n *api.Network) {
			service := api.NetworkService{Name: f[2], Address: netip.MustParseAddr(f[3]), Port: int(number(f[4]))}
			if len(f) > 5 {
				service.Protocol = f[5]
			}
			n.Spec.Services = append(n.Spec.Services[:len(n.Spec.Services):len(n.Spec.Services)], service)
		})
	case "resolver":
		change(w, api.KindSubnet, f[1]+":"+f[2], func(s *api.Subnet) { s.Spec.DNSServers = []netip.Addr{netip.MustParseAddr(f[3])} })
	case "disable-port":
		change(w, api.KindPort, f[1], func(p *api.Port) { p.Spec.AdminState = api.AdminDown })
	case "underlay":
		change(w, api.KindNetwork, f[1], func(n *api.Network) { n.Spec.Encapsulation = []string{api.EncapsulationNone} })
	case "visible":
		change(w, api.KindNetwork, f[1], func(n *api.Network) { n.Spec.HostVisible = true })
	case "disable-network":
		change(w, api.KindNetwork, f[1], func(n *api.Network) { n.Spec.AdminState = api.AdminDown })
	case "trunk":
		t := &api.Trunk{}
		t.Spec.Port = Ref(api.KindPort, f[2])
		if len(f) > 3 {
			t.Spec.AdminState = api.AdminState(f[3])
		}
		w.Put(t, api.KindTrunk, f[1])
	case "carry":
		s := &api.SubPort{}
		s.Meta.Parent = Ref(api.KindTrunk, f[1])
		s.Spec.Port, s.Spec.VLAN = Ref(api.KindPort, f[2]), int(number(f[3]))
		w.Put(s, api.KindSubPort, f[1]+":"+f[2])
	case "forward":
		change(w, api.KindNetwork, f[1], func(n *api.Network) {
			n.Spec.Forwarding, n.Spec.Flooding, n.Spec.PortSecurity = f[2], len(f) > 3 && f[3] == "flooding", ""
			if f[len(f)-1] == "unchecked" {
				n.Spec.PortSecurity = api.PortSecurityOff
			}
		})
	case "learn":
		change(w, api.KindPort, f[1], func(p *api.Port) { p.Spec.MACLearning = &api.MACLearning{Limit: int(number(f[2]))} })
	case "qos":
		w.putQoS(f)
	case "qos-port":
		change(w, api.KindPort, f[1], func(p *api.Port) { p.Spec.QoSPolicy = Ref(api.KindQoSPolicy, f[2]) })
	case "qos-network":
		change(w, api.KindNetwork, f[1], func(n *api.Network) { n.Spec.QoSPolicy = Ref(api.KindQoSPolicy, f[2]) })
	case "secure":
		change(w, api.KindPort, f[1], func(p *api.Port) { p.Spec.PortSecurity = f[2] })
	default:
		w.applySecurity(f)
	}
}

func change[T api.Object](w *World, kind api.Kind, name string, edit func(T)) {
	if o, ok := w.Get(kind, UUID(kind, name)).(T); ok {
		o = api.Clone(o)
		edit(o)
		w.Put(o, kind, name)
	}
}

// randomServices returns lines about what hosts tell the workloads of a network
// and of a port, as RandomEdit chooses from.
func randomServices(r *rand.Rand, network, port string) []string {
	machine := fmt.Sprintf("m%d", r.IntN(2))
	return []string{
		fmt.Sprintf("qos q%d egress=%d dscp=%d", r.IntN(2), 100+r.IntN(2), r.IntN(2)),
		fmt.Sprintf("qos q2 ingress=%d/8 default", 100+r.IntN(2)),
		"qos q2 egress=7 packets=3",
		fmt.Sprintf("qos-port %s q%d", port, r.IntN(3)),
		fmt.Sprintf("qos-network %s q%d", network, r.IntN(3)),
		fmt.Sprintf("remove %s q%d", api.KindQoSPolicy, r.IntN(3)),
		"underlay " + network,
		"visible " + network,
		fmt.Sprintf("port %s %s q%d", network, port, r.IntN(2)),
		fmt.Sprintf("port n%d %s q", int(port[1]-'0')%4, port),
		fmt.Sprintf("machine %s name%d", machine, r.IntN(3)),
		"runs " + machine + " " + port,
		fmt.Sprintf("called %s called%d", port, r.IntN(2)),
		fmt.Sprintf("called %s called example%d.org", port, r.IntN(2)),
		fmt.Sprintf("domain %s example%d.org", network, r.IntN(2)),
		fmt.Sprintf("serve %s time 169.254.9.9 %d", network, 1+r.IntN(3)),
		fmt.Sprintf("serve %s time 169.254.9.9 %d udp", network, 1+r.IntN(3)),
		fmt.Sprintf("resolver %s 10.0.0.0/24 10.0.0.%d", network, 1+r.IntN(3)),
		fmt.Sprintf("remove %s %s", api.KindVirtualMachine, machine),
		"forward " + network + " l2",
		"forward " + network + " l2 flooding unchecked",
		"forward " + network + " l2-l3 flooding",
		"forward " + network + " l3",
		fmt.Sprintf("learn %s %d", port, r.IntN(3)),
		"secure " + port + " off",
		"secure " + port + " on",
	}
}

// randomTrunks returns lines about trunks that a port carries or is carried in.
func randomTrunks(r *rand.Rand, port string) []string {
	trunk, other := fmt.Sprintf("tr%d", r.IntN(2)), fmt.Sprintf("p%d", r.IntN(8))
	return []string{
		"trunk " + trunk + " " + port,
		"trunk " + trunk + " " + port + " down",
		fmt.Sprintf("carry %s %s %d", trunk, port, 1+r.IntN(3)),
		fmt.Sprintf("carry %s %s %d\ntrunk %s %s", trunk, port, 1+r.IntN(3), trunk, other),
		fmt.Sprintf("remove %s %s", api.KindTrunk, trunk),
		fmt.Sprintf("remove %s %s:%s", api.KindSubPort, trunk, port),
	}
}
