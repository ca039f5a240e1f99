// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-network/weft/api"
)

// fieldsOf are the columns of kinds that show fields as they are: the title is
// the field's last word, or what stands before a colon.
var fieldsOf = map[api.Kind][]string{
	api.KindTag:                   {"type", "value"},
	api.KindVirtualMachine:        {"type", "host-name:hostName", "within"},
	api.KindTagBinding:            {"tag", "of:targetKind", "target"},
	api.KindAddressGroup:          {"ranges", "except"},
	api.KindServiceGroup:          {"services"},
	api.KindSecurityGroup:         {"default", "stateless"},
	api.KindSecurityGroupRule:     {"group:meta.parent", "direction", "family", "match", "remote:remoteRange", "remote-group:remoteGroup", "address-group:remoteAddressGroup"},
	api.KindFirewallRule:          {"action", "source", "direction", "destination", "services", "service-group:serviceGroup"},
	api.KindFirewallPolicy:        {"rules", "isolates", "audit"},
	api.KindApplicationPolicySet:  {"scope", "application", "policies", "tier", "priority"},
	api.KindQoSPolicy:             {"rules", "default"},
	api.KindHealthCheck:           {"type:probe.type", "scope", "on-fault:onFault"},
	api.KindRouteTarget:           {"target"},
	api.KindRouteTable:            {"routes"},
	api.KindAddressScope:          {"family"},
	api.KindSubnetPool:            {"address-scope:addressScope"},
	api.KindRouter:                {"external:gateway.network", "addresses:gateway.addresses", "routes"},
	api.KindRouterInterface:       {"router", "subnet", "address"},
	api.KindBGPPeer:               {"from", "address", "peer-as:peerAS", "local-as:localAS", "families"},
	api.KindLoadBalancer:          {"addresses", "provider"},
	api.KindPool:                  {"load-balancer:meta.parent", "protocol", "algorithm"},
	api.KindMember:                {"pool:meta.parent", "port", "ip", "target-port:targetPort", "weight", "state"},
	api.KindHealthMonitor:         {"pool:meta.parent", "type:probe.type"},
	api.KindListener:              {"load-balancer:meta.parent", "protocol", "port", "pool"},
	api.KindListenerRule:          {"listener:meta.parent", "position", "requests", "action", "pool"},
	api.KindFloatingIPPool:        {"network", "subnets"},
	api.KindFloatingIP:            {"pool", "address"},
	api.KindFloatingIPAssociation: {"floating-ip:floatingIP", "port", "load-balancer:loadBalancer", "address"},
	api.KindPortForwarding:        {"floating-ip:meta.parent", "protocol", "external", "port", "internal"},
	api.KindSourceNAT:             {"network", "addresses"},
	api.KindPortBlock:             {"address:meta.parent", "host", "ports", "releasing"},
	api.KindTrunk:                 {"port"},
	api.KindSubPort:               {"trunk:meta.parent", "vlan", "port"},
	api.KindSwitch:                {"role", "driver", "tunnel-address:tunnelAddress", "pair"},
	api.KindSwitchPort:            {"switch:meta.parent", "interface", "aggregate", "host"},
	api.KindSwitchPortAttachment:  {"switch-port:switchPort", "vlan", "port"},
	api.KindMirror:                {"ports", "rules", "directions", "to"},
	api.KindServiceChain:          {"left", "right", "direction"},
	api.KindQuota:                 {"of", "limit"},
	api.KindForeignDocument:       {"about:targetKind", "target", "index"},
}

// kindColumns are a kind's own columns.
func kindColumns(kind api.Kind) []column {
	columns := slices.Clone(columnsOf[kind])
	for _, f := range fieldsOf[kind] {
		title, path, renamed := strings.Cut(f, ":")
		if !renamed {
			path = f
		}
		if !strings.HasPrefix(path, "meta.") {
			path = "spec." + path
		}
		columns = append(columns, column{title: strings.ToUpper(title), cell: func(_ *view, o api.Object) string {
			return fieldCell(o, strings.Split(path, "."))
		}})
	}
	if kind == api.KindMember || kind == api.KindPool || kind == api.KindLoadBalancer {
		columns = append(columns, column{title: "ONLINE", cell: onlineCell})
	}
	return columns
}

// onlineCell shows of members whether they answer and why not, and of what has
// members how many do.
func onlineCell(_ *view, o api.Object) string {
	status, _ := o.StatusBody().(*api.Reported)
	if status == nil {
		return ""
	}
	for _, c := range status.Conditions {
		switch {
		case c.Type != "Online":
		case o.Head().Kind != api.KindMember:
			return c.Message
		case c.Message != "":
			return c.Reason + ": " + c.Message
		default:
			return c.Reason
		}
	}
	return ""
}

// fieldCell shows a field of any object.
func fieldCell(o api.Object, path []string) string {
	var value any
	data, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(data, &value)
	}
	if err != nil {
		return err.Error()
	}
	for _, p := range path {
		m, _ := value.(map[string]any)
		value = m[p]
	}
	return brief(projectName(o.Head().Meta.FQName), value)
}

// brief is a decoded value in few words: references by name as seen from a
// project, blocks as field=value, lists with commas between.
func brief(project string, value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case bool:
		return yesNo(v)
	case float64:
		return fmt.Sprint(int64(v))
	case map[string]any:
		if name, ok := asRef(v); ok {
			return within(project, name)
		}
		var words []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			words = append(words, key+"="+brief(project, v[key]))
		}
		return strings.Join(words, " ")
	case []any:
		words := make([]string, len(v))
		for i, item := range v {
			words[i] = brief(project, item)
		}
		if len(v) > 0 && strings.Contains(words[0], "=") {
			return strings.Join(words, "; ")
		}
		return strings.Join(words, ",")
	}
	return fmt.Sprint(value)
}
