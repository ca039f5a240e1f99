// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"
	"testing"
)

// specOf is an object as text.
func specOf(kind Kind, spec string) string {
	return `{"kind":"` + string(kind) + `","meta":{"foreign":{"kind":"k","id":"1"}},"spec":` + spec + `}`
}

// specCase is a spec and the fields at fault in it.
type specCase struct {
	kind         Kind
	spec, fields string
}

const ok = ""

func checkSpecs(t *testing.T, cases []specCase) {
	t.Helper()
	for _, c := range cases {
		text := specOf(c.kind, c.spec)
		if got := strings.Join(problemsOf(t, text), " "); got != c.fields {
			t.Errorf("%.200s: problems in %q, want %q", text, got, c.fields)
		}
	}
}

func TestWhatOneObjectOfPolicyAndRoutingCanBreak(t *testing.T) {
	long := strings.Repeat("x", 256)
	checkSpecs(t, []specCase{
		{KindTag, `{"type":"tier","value":"web"}`, ok},
		{KindTag, `{}`, "spec.type"},
		{KindTag, `{"type":"a=b","value":"` + long + `"}`, "spec.value spec.type"},
		{KindTag, `{"type":"a\nb"}`, "spec.type"},
		{KindTagBinding, `{"tag":"a:b:c","targetKind":"port","target":"a:b:d"}`, ok},
		{KindTagBinding, `{"targetKind":"subnet"}`, "spec.tag spec.targetKind spec.target"},
		{KindVirtualMachine, `{"type":"pod","within":"a:b:c"}`, ok},
		{KindVirtualMachine, `{"type":"thing"}`, "spec.type"},
		{KindAddressGroup, `{"ranges":["10.0.0.1/8","2001:db8::/32"]}`, ok},
		{KindAddressGroup, `{"ranges":["::ffff:10.0.0.0/104"]}`, "spec.ranges[0]"},
		{KindServiceGroup, `{"services":[{"protocol":"tcp","ports":{"from":80,"to":90}},{"protocol":"47"},{}]}`, ok},
		{KindServiceGroup, `{"services":[{"protocol":"icmp","ports":{"from":80}}]}`, "spec.services[0].ports"},
		{KindServiceGroup, `{"services":[{"protocol":"tcp","ports":{"from":90,"to":80},"portName":"x","icmpCode":1}]}`, "spec.services[0].ports spec.services[0].portName spec.services[0].icmpCode"},
		{KindServiceGroup, `{"services":[{"protocol":"TCP"},{"protocol":"256"},{"protocol":"06"}]}`, "spec.services[0].protocol spec.services[1].protocol spec.services[2].protocol"},
		{KindServiceGroup, `{"services":[{"protocol":"udp","ports":{"from":70000}},{"protocol":"udp","icmpType":3}]}`, "spec.services[0].ports.from spec.services[1].icmpType"},
		{KindSecurityGroup, `{"stateless":true}`, ok},
		{KindSecurityGroupRule, `{"direction":"egress","family":"IPv6","match":{"protocol":"icmpv6","icmpType":0,"icmpCode":0},"remoteRange":"2001:db8::1/64"}`, ok},
		{KindSecurityGroupRule, `{"direction":"up","match":{"protocol":"tcp","sourcePorts":{"from":1}}}`, "spec.direction spec.family spec.match"},
		{KindSecurityGroupRule, `{"direction":"ingress","family":"IPv4","match":{"protocol":"icmpv6"},"remoteRange":"::/0","remoteGroup":"a:b:c"}`, "spec.remoteRange spec.match.protocol"},
		{KindFirewallRule, `{"action":"next","source":{"tags":["a:b:c"]},"services":[{"protocol":"tcp","portName":"https"}]}`, ok},
		{KindFirewallRule, `{"direction":"<","source":{"tags":["a:b:c","a:b:c"]},"destination":{"range":"10.0.0.0/8","except":["11.0.0.0/8"]}}`, "spec.action spec.direction spec.source.tags[1] spec.destination.except[0]"},
		{KindFirewallRule, `{"action":"pass","source":{"expressions":[{"type":"app","operator":"in"},{"type":"app","operator":"exists","values":["x"]}]},"serviceGroup":"a:b:c","services":[{}]}`, "spec.source.expressions[0].values spec.source.expressions[1].values spec.services"},
		{KindFirewallRule, `{"action":"deny","source":{"project":"a:b","range":"10.0.0.0/8"},"destination":{"addressGroup":"a:b:c","range":"10.0.0.0/8"},"matchTags":["tier","tier"]}`, "spec.source spec.destination.addressGroup spec.matchTags spec.matchTags[1]"},
		{KindFirewallPolicy, `{"rules":["a:b:c"],"isolates":["ingress","egress"]}`, ok},
		{KindFirewallPolicy, `{"rules":["a:b:c","a:b:c",{}],"isolates":["both"],"workloads":{"range":"10.0.0.0/8"}}`, "spec.isolates[0] spec.rules[1] spec.rules[2] spec.workloads"},
		{KindFirewallPolicy, `{"rules":["a:b:c"],"log":true}`, "spec.log"},
		{KindApplicationPolicySet, `{"scope":"global","tier":"admin","priority":1}`, ok},
		{KindApplicationPolicySet, `{"scope":"world","tier":"x","priority":70000}`, "spec.scope spec.tier spec.priority"},
		{KindNetworkPolicy, `{"rules":[{"action":"pass","direction":"<>","source":{},"destination":{}}]}`, ok}, // as written before there were services
		{KindNetworkPolicy, `{"rules":[{"action":"deny","direction":">","source":{"network":"a:b:c"},"destination":{"range":"10.0.0.0/8"},"services":[{"protocol":"tcp","ports":{"from":80}}],"log":true}]}`, ok},
		{KindNetworkPolicy, `{"rules":[{"action":"pass","direction":"<>","source":{"local":true},"destination":{"policy":"a:b:c"}},{"action":"pass","direction":"<>","source":{"subnet":"a:b:c:d"}}]}`, ok},
		{KindNetworkPolicy, `{"rules":[{"action":"reject","direction":"<","source":{"network":"a:b:c","local":true},"destination":{"range":"10.0.0.1/8"},"services":[{"protocol":"icmp","ports":{"from":1}}]}]}`, "spec.rules[0].action spec.rules[0].direction spec.rules[0].destination.range spec.rules[0].source spec.rules[0].services[0].ports"},
		{KindNetworkPolicy, `{"rules":[{"action":"pass","direction":"<>","source":{"range":"10.0.0.0/8"},"destination":{"range":"2001:db8::/32"}}]}`, "spec.rules[0].destination.range"},
		{KindNetworkPolicy, `{}`, ok},
		{KindRouteTarget, `{"target":"64512:100"}`, ok},
		{KindRouteTarget, `{"target":"192.0.2.1:100"}`, ok},
		{KindRouteTarget, `{"target":"4200000000:65535"}`, ok},
		{KindRouteTarget, `{"target":"4200000000:65536"}`, "spec.target"},
		{KindRouteTarget, `{"target":"064512:1"}`, "spec.target"},
		{KindRouteTarget, `{"target":"64512:268435466"}`, "spec.target"}, // automatic, of VNI 10
		{KindRouteTarget, `{"target":"64513:268435466"}`, ok},
		{KindRouteTarget, `{"target":"64512:536870912"}`, ok},
		{KindRouteTarget, `{"target":"192.0.2.1:70000"}`, "spec.target"},
		{KindRouteTable, `{"routes":[{"prefix":"0.0.0.0/0","nextHop":"10.0.0.1"},{"prefix":"::/0","discard":true}]}`, ok},
		{KindRouteTable, `{"routes":[{"prefix":"10.0.0.1/8","nextHop":"2001:db8::1","discard":true}]}`, "spec.routes[0].prefix spec.routes[0].nextHop"},
		{KindRouter, `{"gateway":{"network":"a:b:c","addresses":["a:b:c:d"]},"routes":[{"prefix":"10.0.0.0/8","nextHop":"10.0.0.1"}]}`, ok},
		{KindRouter, `{"adminState":"off","gateway":{},"routes":[{"prefix":"10.0.0.0/8"}]}`, "spec.adminState spec.gateway.network spec.routes[0].nextHop"},
		{KindRouterInterface, `{}`, "spec.router spec.subnet"},
		{KindBGPPeer, `{"from":"port","port":"a:b:c","peerAS":65001,"localAS":65000}`, ok},
		{KindBGPPeer, `{"from":"controllers","hosts":["h"],"port":"a:b:c","peerAS":65001,"localAS":65000,"families":["ipx"],"holdTimeSeconds":2}`, "spec.families[0] spec.holdTimeSeconds spec.port spec.hosts spec.address"},
	})
}

func TestWhatOneObjectOfServicesAndFabricCanBreak(t *testing.T) {
	checkSpecs(t, []specCase{
		{KindFloatingIPPool, `{"network":"a:b:c"}`, ok},
		{KindFloatingIP, `{}`, "spec.pool spec.address"},
		{KindFloatingIPAssociation, `{"floatingIP":"a:b:c","port":"a:b:d","mode":"alias"}`, ok},
		{KindFloatingIPAssociation, `{"floatingIP":"a:b:c","address":"a:b:n:d"}`, "spec.port spec.address"},
		{KindPortForwarding, `{"protocol":"udp","external":{"from":10,"to":20},"internal":{"from":110,"to":120},"port":"a:b:c"}`, ok},
		{KindPortForwarding, `{"protocol":"gre","external":{"from":10,"to":20},"internal":{"from":110,"to":111},"port":"a:b:c"}`, "spec.protocol spec.internal"},
		{KindPortForwarding, `{}`, "spec.protocol spec.external spec.internal spec.port"},
		{KindSourceNAT, `{"network":"a:b:n","addresses":["a:b:e:c"]}`, ok},
		{KindSourceNAT, `{"addresses":["a:b:e:c","a:b:e:c"]}`, "spec.network spec.addresses[1]"},
		{KindSourceNAT, `{"network":"a:b:n"}`, "spec.addresses"},
		{KindPortBlock, `{"host":"h","ports":{"from":1024,"to":2047}}`, ok},
		{KindPortBlock, `{"host":"h","ports":{"from":65472,"to":65535},"releasing":true}`, ok},
		{KindPortBlock, `{"host":"h","ports":{"from":1024,"to":2111}}`, "spec.ports"},
		{KindPortBlock, `{"host":"h","ports":{"from":960,"to":1023}}`, "spec.ports"},
		{KindPortBlock, `{"host":"h","ports":{"from":1025,"to":1088}}`, "spec.ports"},
		{KindPortBlock, `{"host":"h","ports":{"from":1024}}`, "spec.ports"},
		{KindPortBlock, `{}`, "spec.host spec.ports"},
		{KindLoadBalancer, `{"provider":"magic"}`, "spec.provider"},
		{KindPool, `{"protocol":"TCP","affinity":{"by":"app-cookie","cookie":"id"}}`, ok},
		{KindPool, `{"affinity":{"by":"source-address","cookie":"id"}}`, "spec.protocol spec.affinity.cookie"},
		{KindMember, `{"ip":"10.0.0.1","targetPort":80,"weight":0}`, ok},
		{KindMember, `{"weight":257,"state":"gone"}`, "spec.targetPort spec.weight spec.state spec.ip"},
		{KindMember, `{"port":"a:b:c","subnet":"a:b:n:s","ip":"fe80::1%eth0","targetPort":80}`, "spec.ip spec.subnet"},
		{KindHealthMonitor, `{"probe":{"type":"http","http":{"path":"/x"}}}`, ok},
		{KindHealthMonitor, `{"probe":{"type":"tcp","intervalMilliseconds":100,"timeoutMilliseconds":200,"http":{}}}`, "spec.probe.http spec.probe.timeoutMilliseconds"},
		{KindHealthCheck, `{"probe":{"type":"bfd"},"scope":"end-to-end","target":"192.0.2.1"}`, ok},
		{KindHealthCheck, `{"probe":{"type":"http","http":{"path":"x"}},"scope":"end-to-end"}`, "spec.probe.http.path spec.target"},
		{KindListener, `{"protocol":"UDP","port":53}`, ok},
		{KindListener, `{"protocol":"TERMINATED_HTTPS","port":65536}`, "spec.port spec.tls.certificates"},
		{KindListenerRule, `{"action":"reject","requests":[{"what":"header","key":"x","compare":"equals","value":"y"}]}`, ok},
		{KindListenerRule, `{"action":"pool","url":"https://a","prefix":"b","requests":[{"what":"path","key":"x","compare":"equals","value":"y"}]}`, "spec.pool spec.url spec.requests[0].key"},
		{KindQoSPolicy, `{"rules":[{"type":"bandwidth-limit","rate":1},{"type":"bandwidth-limit","direction":"ingress","rate":1},{"type":"dscp-mark","dscp":0}]}`, ok},
		{KindQoSPolicy, `{"rules":[{"type":"packet-limit","rate":1},{"type":"packet-limit","direction":"egress","rate":1},{"type":"dscp-mark","direction":"ingress","dscp":64}]}`, "spec.rules[2].dscp spec.rules[1].type spec.rules[2].direction"},
		{KindQoSPolicy, `{"rules":[{"type":"dscp-mark","rate":1},{"type":"bandwidth-limit"}]}`, "spec.rules[0].dscp spec.rules[0].rate spec.rules[1].rate"},
		{KindQuota, `{"of":"port","limit":10}`, ok},
		{KindQuota, `{"of":"thing","limit":-1}`, "spec.limit spec.of"},
		{KindMirror, `{"ports":["a:b:c"],"to":{"address":"192.0.2.1"}}`, ok},
		{KindMirror, `{"ports":["a:b:c"],"to":{"address":"192.0.2.1","encapsulation":"erspan","id":1023}}`, ok},
		{KindMirror, `{"ports":["a:b:c"],"to":{"address":"192.0.2.1","encapsulation":"erspan","id":1024}}`, "spec.to.id"},
		{KindMirror, `{"ports":["a:b:c"],"directions":["up"],"to":{"address":"192.0.2.1","port":"a:b:c"}}`, "spec.directions[0] spec.to spec.ports[0]"},
		{KindServiceChain, `{"left":"a:b:c","right":"a:b:d","services":[{"name":"fw","mode":"transparent"}]}`, ok},
		{KindServiceChain, `{"left":"a:b:c","services":[{"name":"fw","mode":"x"},{"name":"fw","mode":"in-network"}]}`, "spec.right spec.services[0].mode spec.services[1].name"},
		{KindTrunk, `{}`, "spec.port"},
		{KindSubPort, `{"port":"a:b:c","vlan":4095}`, "spec.vlan"},
		{KindSwitch, `{"role":"leaf","tunnelAddress":"192.0.2.1"}`, ok},
		{KindSwitch, `{}`, "spec.role"},
		{KindSwitchPort, `{"interface":"Ethernet1/5","mtu":100}`, "spec.mtu"},
		{KindSwitchPortAttachment, `{"port":"a:b:c","switchPort":"s:p"}`, ok},
		{KindForeignDocument, `{"body":{"a":[1,{"b":null}]},"index":{"k":"v"}}`, ok},
		{KindForeignDocument, `{"targetKind":"share","body":[1]}`, "spec.body spec.target spec.targetKind"},
		{KindForeignDocument, `{"body":{"a":"` + strings.Repeat("x", MaxDocumentBytes) + `"}}`, "spec.body"},
	})
}

func TestFurtherFieldsOfPortsAndNetworks(t *testing.T) {
	for _, c := range []struct{ object, fields string }{
		{specOf(KindPort, `{"network":"a:b:c","adminState":"down","securityGroups":["a:b:g"],"allowedAddressPairs":[{"range":"10.0.0.0/24"},{"range":"10.0.0.0/24","mac":"02:00:00:00:00:01"}],"namedPorts":[{"name":"dns","protocol":"udp","port":53},{"name":"dns","protocol":"tcp","port":53}]}`), ""},
		{specOf(KindPort, `{"network":"a:b:c","portSecurity":"off","securityGroups":["a:b:g"]}`), "spec.portSecurity"},
		{specOf(KindPort, `{"network":"a:b:c","securityGroups":["a:b:g","a:b:g"],"allowedAddressPairs":[{"range":"10.0.0.1/24"},{"range":"10.0.0.0/24","mode":"active-active"}]}`), "spec.securityGroups[1] spec.allowedAddressPairs[1]"},
		{specOf(KindPort, `{"network":"a:b:c","mac":"02:00:00:00:00:01:02","namedPorts":[{"name":"a","protocol":"icmp","port":0}]}`), "spec.mac spec.namedPorts[0].port spec.namedPorts[0].protocol"},
		{specOf(KindNetwork, `{"importTargets":["a:b:r"],"segments":[{"type":"vlan","physicalNetwork":"x","vlan":5},{"type":"flat","physicalNetwork":"x"}],"encapsulation":["mplsudp","vxlan"]}`), ""},
		{specOf(KindNetwork, `{"importTargets":["a:b:r","a:b:r"],"segments":[{"type":"vlan","physicalNetwork":"x"},{"type":"flat","vlan":5}],"encapsulation":["ip"]}`), "spec.segments[1].physicalNetwork spec.encapsulation[0] spec.importTargets[1] spec.segments[0].vlan spec.segments[1].vlan"},
	} {
		if got := strings.Join(problemsOf(t, c.object), " "); got != c.fields {
			t.Errorf("%s: problems in %q, want %q", c.object, got, c.fields)
		}
	}
}

func TestEffectsAreSaid(t *testing.T) {
	port, err := Decode([]byte(specOf(KindPort, `{"network":"a:b:c","fatFlows":[{"ignore":"source"}],"healthChecks":["a:b:h"]}`)), true)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(SetWithoutEffect(port), " "); got != "spec.fatFlows" {
		t.Errorf("fields without effect: %q", got)
	}
	for kind, want := range map[Kind]string{KindPort: "", KindForeignDocument: "", KindRouter: StoredOnly} {
		if info, _ := KindInfo(kind); info.Effect() != want {
			t.Errorf("effect of %s is %q, want %q", kind, info.Effect(), want)
		}
	}
	for kind := range effective {
		if _, ok := KindInfo(kind); !ok {
			t.Errorf("%s has an effect and is no kind", kind)
		}
	}
}

func TestForeignBlockOfAnyObject(t *testing.T) {
	for block, field := range map[string]string{
		`{"deep":{"a":[1,2]}}`: "",
		`[1]`:                  "meta.foreign.document",
		`"text"`:               "meta.foreign.document",
	} {
		o, err := Decode([]byte(`{"kind":"domain","meta":{"foreign":{"kind":"k","id":"1","document":`+block+`}}}`), true)
		if err != nil {
			t.Fatal(err)
		}
		p := ValidateHeader(o.Head())
		if (len(p) == 0) != (field == "") || len(p) > 0 && p[0].Field != field {
			t.Errorf("document %s: problems %v, want one in %q", block, p, field)
		}
	}
}
