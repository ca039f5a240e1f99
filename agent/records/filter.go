// SPDX-License-Identifier: Apache-2.0

package records

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
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
	// read gives a value as records have it; or in words what is wrong with it.
	read func(value string) (kept, problem string)
	has  func(r *api.Record, value string) bool
}

var filterKeys = map[string]filterKey{
	"project": {named(2), ofEither(func(p *api.Party, v string) bool { return p.Project == v })},
	"network": {named(3), ofEither(func(p *api.Party, v string) bool { return p.Network == v })},
	"port":    {orUUID(named(3)), ofEither(func(p *api.Party, v string) bool { return p.Workload == v || p.ID == v })},
	"tag":     {readTag, ofEither(func(p *api.Party, v string) bool { return slices.Contains(p.Tags, v) })},
	"rule":    {orUUID(readRule), hasRule},
	"verdict": {oneOf("passed", "dropped", "consumed", "answered"), func(r *api.Record, v string) bool { return r.Verdict == v }},
	"protocol": {readProtocol, func(r *api.Record, v string) bool {
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
		kept, problem := of.read(value)
		if problem != "" {
			return f, fmt.Errorf("%s: %q %s", key, value, problem)
		}
		if f.values == nil {
			f.values = map[string][]string{}
		}
		f.values[key] = append(f.values[key], kept)
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

// notQualified is what is wrong with a name that no record has.
const notQualified = "is not fully qualified, and no record would match: want "

// named reads names of so many parts.
func named(parts int) func(string) (string, string) {
	example := strings.Join([]string{"domain", "project", "name"}[:parts], ":")
	return func(value string) (string, string) {
		if found := strings.Split(value, ":"); len(found) != parts || slices.Contains(found, "") {
			return "", notQualified + example
		}
		return value, ""
	}
}

// readRule reads names of rules, which lie at different depths, and have words around them.
func readRule(value string) (string, string) {
	if !strings.Contains(value, ":") || strings.HasPrefix(value, ":") || strings.HasSuffix(value, ":") {
		return "", notQualified + "domain:project"
	}
	return value, ""
}

// orUUID reads what is a UUID, in whichever way it is written, too.
func orUUID(read func(string) (string, string)) func(string) (string, string) {
	return func(value string) (string, string) {
		if id, err := uuid.Parse(value); err == nil {
			return id.String(), ""
		}
		kept, problem := read(value)
		if problem != "" {
			problem += ", or a UUID"
		}
		return kept, problem
	}
}

func readTag(value string) (string, string) {
	if kind, of, found := strings.Cut(value, "="); !found || kind == "" || of == "" {
		return "", "is no tag: want TYPE=VALUE, as tag=tier=web"
	}
	return value, ""
}

// readProtocol reads also the type of frames that are no IP, in four digits.
func readProtocol(value string) (string, string) {
	if _, known := api.Protocol(value).Number(); known || value == "arp" {
		return value, ""
	}
	if digits, is := strings.CutPrefix(value, "ethertype-"); is && len(digits) == 4 {
		if n, err := strconv.ParseUint(digits, 16, 16); err == nil {
			return protocolOf(Packet{Ethertype: uint16(n)}), ""
		}
	}
	return "", "is no protocol: want a name in lower case or a number, or of frames arp or ethertype-88cc"
}

func oneOf(words ...string) func(string) (string, string) {
	return func(value string) (string, string) {
		if slices.Contains(words, value) {
			return value, ""
		}
		return "", "is none of " + strings.Join(words, ", ")
	}
}
