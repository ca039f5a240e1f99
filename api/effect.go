// SPDX-License-Identifier: Apache-2.0

package api

import (
	"reflect"
	"strings"
)

// StoredOnly is the effect of a kind that is kept, checked, referred to and
// shared as every other, while nothing in the network follows from it yet.
const StoredOnly = "stored only: nothing in the network follows from it yet"

// effective are the kinds from which something follows. Whoever gives a kind
// its behaviour moves it here.
var effective = map[Kind]bool{
	KindDomain: true, KindProject: true, KindOrchestrator: true, KindShare: true, KindHost: true,
	KindNetwork: true, KindSubnet: true, KindAddress: true, KindPort: true, KindBinding: true,
	KindVirtualMachine: true, KindNetworkPolicy: true, KindNetworkPolicyAttachment: true, KindIPAM: true, KindSubnetPool: true,
	KindRouteTarget: true, KindRouteTable: true, KindAddressScope: true, KindTrunk: true, KindSubPort: true,
	KindSecurityGroup: true, KindSecurityGroupRule: true, KindAddressGroup: true, KindServiceGroup: true, KindTag: true, KindTagBinding: true, KindQoSPolicy: true,
	KindLoadBalancer: true, KindPool: true, KindListener: true, KindListenerRule: true, KindMember: true, KindHealthMonitor: true, KindHealthCheck: true,
	KindSourceNAT: true, KindPortBlock: true,
	KindFloatingIPPool: true, KindFloatingIP: true, KindFloatingIPAssociation: true,
	KindFirewallRule: true, KindFirewallPolicy: true, KindApplicationPolicySet: true,
	// A document is there to be stored, a draft until it is committed.
	KindForeignDocument: true, KindDraft: true,
}

// Effect says in words what a kind does not do yet, and nothing of a kind that
// does all it says.
func (i Info) Effect() string {
	if effective[i.Kind] {
		return ""
	}
	return StoredOnly
}

// StoredOnlyFields lists the fields of a working kind's spec, by their names,
// that nothing follows from yet.
func StoredOnlyFields(info Info) []string {
	var names []string
	eachStoredOnly(reflect.ValueOf(info.New()).Elem().FieldByName("Spec"), func(name string, _ reflect.Value) {
		names = append(names, name)
	})
	return names
}

// SetWithoutEffect lists the fields of an object that are set and that nothing
// follows from yet: those of a working kind that are marked effect:"none".
func SetWithoutEffect(o Object) []string {
	spec := reflect.ValueOf(o).Elem().FieldByName("Spec")
	var fields []string
	eachStoredOnly(spec, func(name string, v reflect.Value) {
		if !v.IsZero() {
			fields = append(fields, "spec."+name)
		}
	})
	return fields
}

func eachStoredOnly(spec reflect.Value, visit func(name string, v reflect.Value)) {
	for i := range spec.NumField() {
		f := spec.Type().Field(i)
		if f.Anonymous {
			eachStoredOnly(spec.Field(i), visit)
			continue
		}
		if f.Tag.Get("effect") != "" {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			visit(name, spec.Field(i))
		}
	}
}
