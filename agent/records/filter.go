// SPDX-License-Identifier: Apache-2.0

package records

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/weft-network/weft/api"
)

// Filter says which records are exported: those that have, of each key that it has,
// one of the values. What was lost could have been any.
type Filter struct {
	values map[string][]string
}

// filterKey is what a record may be chosen by.
type filterKey struct {
	// refuse says in words what is wrong with a value, or nothing.
	refuse func(value string) string
	has    func(r *api.Record, value string) bool
}

var filterKeys = map[string]filterKey{
	"project": {qualified(2, false), ofEither(func(p *api.Party, v string) bool { return p.Project == v })},
	"network": {qualified(3, false), ofEither(func(p *api.Party, v string) bool { return p.Network == v })},
	"port":    {qualified(3, true), ofEither(func(p *api.Party, v string) bool { return p.Workload == v || p.ID == v })},
	"tag":     {refuseTag, ofEither(func(p *api.Party, v string) bool { return slices.Contains(p.Tags, v) })},
	"rule":    {qualified(2, true), hasRule},
	"verdict": {oneOf("passed", "dropped", "consumed", "answered"), func(r *api.Record, v string) bool { return r.Verdict == v }},
	"protocol": {refuseProtocol, func(r *api.Record, v string) bool {
		n, known := api.Protocol(v).Number()
		return r.Protocol == v || known && r.Protocol == protocolWord(uint8(n))
	}},
}

// ParseFilter reads words as project=d:p; several of a key are alternatives.
func ParseFilter(words []string) (f Filter, err error) {
	known := strings.Join(slices.Sorted(maps.Keys(filterKeys)), ", ")
	for _, word := range words {
		key, value, found := strings.Cut(word, "=")
		of, is := filterKeys[key]
		if !is || !found {
			return f, fmt.Errorf("%q is not KEY=VALUE with one of %s", word, known)
		}
		if problem := of.refuse(value); problem != "" {
			return f, fmt.Errorf("%s: %q %s", key, value, problem)
		}
		if f.values == nil {
			f.values = map[string][]string{}
		}
		f.values[key] = append(f.values[key], value)
	}
	return f, nil
}

// Matches tells whether a record is one of those that are wanted.
func (f Filter) Matches(r *api.Record) bool {
	if r.Record == api.RecordLost && r.Source.ID == "" {
		return true
	}
	for key, values := range f.values {
		if r.Record == api.RecordLost && key != "port" && key != "network" && key != "project" && key != "tag" {
			continue
		}
		if !slices.ContainsFunc(values, func(v string) bool { return filterKeys[key].has(r, v) }) {
			return false
		}
	}
	return true
}

// ofEither matches either end.
func ofEither(has func(*api.Party, string) bool) func(*api.Record, string) bool {
	return func(r *api.Record, v string) bool { return has(&r.Source, v) || has(&r.Destination, v) }
}

// hasRule matches the UUID of the object that has the rule, or its name, alone or with
// its kind. Where two rules have one number, either is meant.
func hasRule(r *api.Record, v string) bool {
	if r.RuleID == v {
		return v != ""
	}
	for _, words := range strings.Split(r.Rule, " or ") {
		_, name, _ := strings.Cut(words, " ")
		bare, _, _ := strings.Cut(name, ", rule ")
		if v == words || v == name || v == bare {
			return true
		}
	}
	return false
}

// qualified refuses names that do not have so many parts: nothing would ever match.
func qualified(parts int, byUUID bool) func(string) string {
	example := strings.Join([]string{"domain", "project", "name"}[:parts], ":")
	if byUUID {
		example += ", or a UUID"
	}
	return func(value string) string {
		_, err := uuid.Parse(value)
		if strings.Count(value, ":") >= parts-1 && !strings.HasPrefix(value, ":") && !strings.HasSuffix(value, ":") || byUUID && err == nil {
			return ""
		}
		return "is not fully qualified, and no record would match: want " + example
	}
}

func refuseTag(value string) string {
	if kind, of, found := strings.Cut(value, "="); !found || kind == "" || of == "" {
		return "is no tag: want TYPE=VALUE, as tag=tier=web"
	}
	return ""
}

func refuseProtocol(value string) string {
	if _, known := api.Protocol(value).Number(); known || value == "arp" || strings.HasPrefix(value, "ethertype-") {
		return ""
	}
	return "is no protocol: want a name in lower case or a number, or of frames arp or ethertype-88cc"
}

func oneOf(words ...string) func(string) string {
	return func(value string) string {
		if slices.Contains(words, value) {
			return ""
		}
		return "is none of " + strings.Join(words, ", ")
	}
}
