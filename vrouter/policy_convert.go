// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/weft-network/weft/vrouter/rules"
)

func isAbsent(err error) bool { return errors.Is(err, ebpf.ErrKeyNotExist) }

var portPolicyCodec = codec[int, PortPolicy, uint32, layoutPortPolicy]{
	key:   func(ifindex int) (uint32, error) { return uint32(ifindex), nil },
	keyOf: func(raw uint32) int { return int(raw) },
	value: func(p PortPolicy) (layoutPortPolicy, error) {
		raw := layoutPortPolicy{Identity: uint64(p.Identity), Rulesets: p.Rulesets, ConnectionLimit: uint32(p.ConnectionLimit), Former: p.Former}
		for flag, set := range map[layoutPortPolicyFlag]bool{
			layoutPortPolicyFlagPORT_POLICY_STATELESS: p.Stateless, layoutPortPolicyFlagPORT_POLICY_STRICT: p.Strict,
			layoutPortPolicyFlagPORT_POLICY_FORMER_STATELESS: p.FormerStateless,
		} {
			if set {
				raw.Flags |= flag
			}
		}
		return raw, nil
	},
	valueOf: func(raw layoutPortPolicy) PortPolicy {
		return PortPolicy{
			Identity: rules.Identity(raw.Identity), Rulesets: raw.Rulesets, ConnectionLimit: int(raw.ConnectionLimit),
			Stateless: raw.Flags&layoutPortPolicyFlagPORT_POLICY_STATELESS != 0, Strict: raw.Flags&layoutPortPolicyFlagPORT_POLICY_STRICT != 0,
			Former: raw.Former, FormerStateless: raw.Flags&layoutPortPolicyFlagPORT_POLICY_FORMER_STATELESS != 0,
		}
	},
}

func verdictToRaw(v rules.Verdict) (layoutPolicyVerdict, error) {
	raw := layoutPolicyVerdict{Order: v.Order, Rule: v.Rule, Action: uint8(v.Action)}
	if v.Log {
		raw.Flags |= uint8(layoutPolicyVerdictFlagPOLICY_VERDICT_LOG)
	}
	return raw, nil
}

func verdictOf(raw layoutPolicyVerdict) rules.Verdict {
	return rules.Verdict{Order: raw.Order, Rule: raw.Rule, Action: rules.Action(raw.Action), Log: raw.Flags&uint8(layoutPolicyVerdictFlagPOLICY_VERDICT_LOG) != 0}
}

var rulesetCodec = codec[uint32, RulesetValue, uint32, layoutRulesetValue]{
	key:   same32,
	keyOf: identity[uint32],
	value: func(r RulesetValue) (layoutRulesetValue, error) {
		raw := layoutRulesetValue{Audit: r.Audit}
		for flag, set := range map[layoutRulesetFlag]bool{
			layoutRulesetFlagRULESET_IDENTITIES: r.Identities, layoutRulesetFlagRULESET_RANGES4: r.Ranges4, layoutRulesetFlagRULESET_RANGES6: r.Ranges6,
			layoutRulesetFlagRULESET_SERVICES: r.Services, layoutRulesetFlagRULESET_SOURCE_PORTS: r.SourcePorts,
			layoutRulesetFlagRULESET_ANYBODY: r.NamesAnybody,
		} {
			if set {
				raw.Flags |= flag
			}
		}
		raw.Outside, _ = verdictToRaw(r.Outside)
		raw.Identified, _ = verdictToRaw(r.Identified)
		return raw, nil
	},
	valueOf: func(raw layoutRulesetValue) RulesetValue {
		return RulesetValue{
			Identities: raw.Flags&layoutRulesetFlagRULESET_IDENTITIES != 0, Ranges4: raw.Flags&layoutRulesetFlagRULESET_RANGES4 != 0,
			Ranges6: raw.Flags&layoutRulesetFlagRULESET_RANGES6 != 0, Services: raw.Flags&layoutRulesetFlagRULESET_SERVICES != 0,
			SourcePorts: raw.Flags&layoutRulesetFlagRULESET_SOURCE_PORTS != 0, NamesAnybody: raw.Flags&layoutRulesetFlagRULESET_ANYBODY != 0,
			Audit: raw.Audit, Outside: verdictOf(raw.Outside), Identified: verdictOf(raw.Identified),
		}
	},
}

var remoteClassCodec = codec[RemoteClassKey, RemoteClass, layoutRemoteClassKey, layoutRemoteClassValue]{
	key: func(k RemoteClassKey) (layoutRemoteClassKey, error) {
		return layoutRemoteClassKey{Identity: uint64(k.Identity), Ruleset: k.Ruleset}, nil
	},
	keyOf: func(raw layoutRemoteClassKey) RemoteClassKey {
		return RemoteClassKey{Ruleset: raw.Ruleset, Identity: rules.Identity(raw.Identity)}
	},
	value:   remoteClassToRaw,
	valueOf: remoteClassOf,
}

func remoteClassToRaw(c RemoteClass) (layoutRemoteClassValue, error) {
	raw := layoutRemoteClassValue{Class: c.Class}
	raw.Any, _ = verdictToRaw(c.Any)
	return raw, nil
}

func remoteClassOf(raw layoutRemoteClassValue) RemoteClass {
	return RemoteClass{Class: raw.Class, Any: verdictOf(raw.Any)}
}

// rulesetBits is how much of a range's prefix is its ruleset, always matched in full.
const rulesetBits = 32

var remoteRange4Codec = codec[RemoteRangeKey, RemoteClass, layoutRemoteRange4Key, layoutRemoteClassValue]{
	key: func(k RemoteRangeKey) (layoutRemoteRange4Key, error) {
		address, err := rangeToRaw(k.Prefix)
		return layoutRemoteRange4Key{PrefixLength: rulesetBits + uint32(k.Prefix.Bits()), Ruleset: k.Ruleset, Address: address.Word[0]}, err
	},
	keyOf: func(raw layoutRemoteRange4Key) RemoteRangeKey {
		address := addressOf(layoutAddress{Word: [4]uint32{raw.Address}}, layoutFamilyFAMILY_4)
		return RemoteRangeKey{Ruleset: raw.Ruleset, Prefix: netip.PrefixFrom(address, int(raw.PrefixLength-rulesetBits))}
	},
	value:   remoteClassToRaw,
	valueOf: remoteClassOf,
}

var remoteRange6Codec = codec[RemoteRangeKey, RemoteClass, layoutRemoteRange6Key, layoutRemoteClassValue]{
	key: func(k RemoteRangeKey) (layoutRemoteRange6Key, error) {
		address, err := rangeToRaw(k.Prefix)
		return layoutRemoteRange6Key{PrefixLength: rulesetBits + uint32(k.Prefix.Bits()), Ruleset: k.Ruleset, Address: address}, err
	},
	keyOf: func(raw layoutRemoteRange6Key) RemoteRangeKey {
		address := addressOf(raw.Address, layoutFamilyFAMILY_6)
		return RemoteRangeKey{Ruleset: raw.Ruleset, Prefix: netip.PrefixFrom(address, int(raw.PrefixLength-rulesetBits))}
	},
	value:   remoteClassToRaw,
	valueOf: remoteClassOf,
}

func rangeToRaw(p netip.Prefix) (layoutAddress, error) {
	address, _, err := addressToRaw(p.Addr())
	if err == nil {
		err = checkPrefix(p)
	}
	return address, err
}

var serviceClassCodec = codec[ServiceClassKey, ServiceClass, layoutServiceClassKey, layoutServiceClassValue]{
	key: func(k ServiceClassKey) (layoutServiceClassKey, error) {
		if k.Family != uint8(layoutFamilyFAMILY_4) && k.Family != uint8(layoutFamilyFAMILY_6) {
			return layoutServiceClassKey{}, fmt.Errorf("family %d is neither 4 nor 6", k.Family)
		}
		return layoutServiceClassKey{Ruleset: k.Ruleset, Family: k.Family, Protocol: k.Protocol, Page: k.Page}, nil
	},
	keyOf: func(raw layoutServiceClassKey) ServiceClassKey {
		return ServiceClassKey{Ruleset: raw.Ruleset, Family: raw.Family, Protocol: raw.Protocol, Page: raw.Page}
	},
	value: func(c ServiceClass) (layoutServiceClassValue, error) {
		return layoutServiceClassValue{Page: c.Page, Class: c.Class}, nil
	},
	valueOf: func(raw layoutServiceClassValue) ServiceClass { return ServiceClass{Class: raw.Class, Page: raw.Page} },
}

var servicePageCodec = codec[ServicePageKey, ServicePage, layoutServicePageKey, layoutServicePageValue]{
	key: func(k ServicePageKey) (layoutServicePageKey, error) {
		return layoutServicePageKey{Ruleset: k.Ruleset, Page: k.Page}, nil
	},
	keyOf:   func(raw layoutServicePageKey) ServicePageKey { return ServicePageKey{raw.Ruleset, raw.Page} },
	value:   func(p ServicePage) (layoutServicePageValue, error) { return layoutServicePageValue{Class: p}, nil },
	valueOf: func(raw layoutServicePageValue) ServicePage { return raw.Class },
}

var verdictCodec = codec[VerdictKey, rules.Verdict, layoutVerdictKey, layoutPolicyVerdict]{
	key: func(k VerdictKey) (layoutVerdictKey, error) {
		return layoutVerdictKey{Ruleset: k.Ruleset, Remote: k.Remote, Service: k.Service, Source: k.Source}, nil
	},
	keyOf: func(raw layoutVerdictKey) VerdictKey {
		return VerdictKey{raw.Ruleset, raw.Remote, raw.Service, raw.Source}
	},
	value:   verdictToRaw,
	valueOf: verdictOf,
}

var managed4Codec = codec[RouteKey, struct{}, layoutRoute4Key, uint8]{
	key: route4Codec.key, keyOf: route4Codec.keyOf,
	value:   func(struct{}) (uint8, error) { return 1, nil },
	valueOf: func(uint8) struct{} { return struct{}{} },
}

var managed6Codec = codec[RouteKey, struct{}, layoutRoute6Key, uint8]{
	key: route6Codec.key, keyOf: route6Codec.keyOf,
	value:   func(struct{}) (uint8, error) { return 1, nil },
	valueOf: func(uint8) struct{} { return struct{}{} },
}
