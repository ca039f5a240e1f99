// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The kinds.
const (
	KindDomain                  Kind = "domain"
	KindProject                 Kind = "project"
	KindOrchestrator            Kind = "orchestrator"
	KindShare                   Kind = "share"
	KindHost                    Kind = "host"
	KindIPAM                    Kind = "ipam"
	KindSubnetPool              Kind = "subnet-pool"
	KindNetwork                 Kind = "network"
	KindSubnet                  Kind = "subnet"
	KindAddress                 Kind = "address"
	KindPort                    Kind = "port"
	KindBinding                 Kind = "binding"
	KindNetworkPolicy           Kind = "network-policy"
	KindNetworkPolicyAttachment Kind = "network-policy-attachment"
)

// Info describes a kind; see also Effect.
type Info struct {
	Kind   Kind
	Plural string // path element of the REST API
	Short  string // abbreviation the CLI accepts
	Parent Kind   // "" for kinds at the root
	Doc    string // one sentence
	New    func() Object
}

// kinds is ordered so that a kind comes after everything it may refer to:
// creating in this order and deleting in the reverse one always works.
var kinds = slices.Concat(
	rootKinds, machineKinds, securityKinds, qosKinds, healthCheckKinds, routeKinds,
	networkKinds, firewallKinds, loadBalancerKinds, floatingKinds, sourceNATKinds, routerKinds, fabricKinds,
	trafficKinds, policyKinds, tagBindingKinds, draftKinds, documentKinds, shareKinds,
)

var rootKinds = []Info{
	{KindDomain, "domains", "dom", "", "The root of names; each orchestrator has its own, so equal project names never meet.", func() Object { return &Domain{} }},
	{KindOrchestrator, "orchestrators", "orch", "", "A system that writes intent: a Kubernetes cluster, an OpenStack cloud, a vCenter, or Weft's own administrators.", func() Object { return &Orchestrator{} }},
	{KindProject, "projects", "proj", KindDomain, "A tenant.", func() Object { return &Project{} }},
	{KindHost, "hosts", "ho", "", "A machine that runs weft-agent.", func() Object { return &Host{} }},
}

var networkKinds = []Info{
	{KindIPAM, "ipams", "ipam", KindProject, "An address space that several networks share.", func() Object { return &IPAM{} }},
	{KindAddressScope, "address-scopes", "as", KindProject, "Subnet-pools whose ranges do not overlap.", func() Object { return &AddressScope{} }},
	{KindSubnetPool, "subnet-pools", "sp", KindProject, "Where subnets get ranges that do not overlap.", func() Object { return &SubnetPool{} }},
	{KindNetwork, "networks", "net", KindProject, "A virtual network: one VRF, one VNI.", func() Object { return &Network{} }},
	{KindSubnet, "subnets", "sub", KindNetwork, "A range of addresses of a network with its gateway.", func() Object { return &Subnet{} }},
	{KindPort, "ports", "po", KindProject, "A point where a workload is attached to a network.", func() Object { return &Port{} }},
	{KindAddress, "addresses", "addr", KindNetwork, "One IP address of a network, held by a port or reserved.", func() Object { return &Address{} }},
	{KindBinding, "bindings", "bind", KindPort, "The placement of a port on a host.", func() Object { return &Binding{} }},
}

var policyKinds = []Info{
	{KindNetworkPolicy, "network-policies", "np", KindProject, "Rules that join networks, and say what for.", func() Object { return &NetworkPolicy{} }},
	{KindNetworkPolicyAttachment, "network-policy-attachments", "npa", KindProject, "Puts a network under a network-policy.", func() Object { return &NetworkPolicyAttachment{} }},
}

var shareKinds = []Info{
	{KindShare, "shares", "sh", KindProject, "Lets others refer to an object of this owner.", func() Object { return &Share{} }},
}

// Kinds returns every kind; one comes after all it may refer to.
func Kinds() []Info { return kinds }

// KindInfo returns the description of a kind.
func KindInfo(k Kind) (Info, bool) {
	n, ok := kindPlaces[k]
	if !ok {
		return Info{}, false
	}
	return kinds[n], true
}

// kindPlaces tells where in kinds a kind is: the store asks for each reference.
var kindPlaces = func() map[Kind]int {
	places := map[Kind]int{}
	for n, i := range kinds {
		places[i.Kind] = n
	}
	return places
}()

// ParseKind finds a kind by its singular, plural or short name.
func ParseKind(s string) (Info, bool) {
	for _, i := range kinds {
		if s == string(i.Kind) || s == i.Plural || s == i.Short {
			return i, true
		}
	}
	return Info{}, false
}

// New returns an empty object of a kind, or nil for an unknown kind.
func New(k Kind) Object {
	info, ok := KindInfo(k)
	if !ok {
		return nil
	}
	o := info.New()
	o.Head().Kind = k
	return o
}

// Decode reads one object from JSON. The kind is taken from the JSON. Fields
// that the kind does not have are an error when strict is set.
func Decode(data []byte, strict bool) (Object, error) {
	var head struct {
		Kind Kind `json:"kind"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		var typed *json.UnmarshalTypeError
		if errors.As(err, &typed) && typed.Field == "kind" {
			err = &misfit{"kind", "is not a text"}
		}
		return nil, asInvalid("read object", err)
	}
	o := New(head.Kind)
	if o == nil {
		e := Errorf(CodeInvalid, "read object: %q is not a kind of object", head.Kind)
		e.Field = "kind"
		return nil, e
	}
	if err := decodeInto(data, o, strict); err != nil {
		e := asInvalid("read "+string(head.Kind), err).(*Error)
		return nil, e.About(head.Kind, "", e.Field)
	}
	return o, nil
}

// Clone returns a deep copy.
func Clone[T Object](o T) T {
	data, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("api: encode %s %s: %v", o.Head().Kind, o.Head().Meta.UUID, err))
	}
	c := New(o.Head().Kind)
	if err := json.Unmarshal(data, c); err != nil {
		panic(fmt.Sprintf("api: decode own encoding of %s %s: %v", o.Head().Kind, o.Head().Meta.UUID, err))
	}
	return c.(T)
}

// ContainersOf returns the fully qualified names of the domain and the project
// that an object is or lies in, as its kind and its own name tell; "" where it
// lies in none.
func ContainersOf(kind Kind, fqName string) (domain, project string) {
	inProject := false
	for kind != KindDomain {
		inProject = inProject || kind == KindProject
		info, ok := KindInfo(kind)
		if !ok || info.Parent == "" {
			return "", ""
		}
		kind = info.Parent
	}
	parts := strings.SplitN(fqName, ":", 3)
	if inProject && len(parts) >= 2 {
		project = JoinName(parts[0], parts[1])
	}
	return parts[0], project
}
