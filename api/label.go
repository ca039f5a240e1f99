// SPDX-License-Identifier: Apache-2.0

package api

import (
	"slices"
	"strings"
)

// LabelProtected is a label that, with the value true on an object of Weft's
// own administrators, refuses its deletion until it is taken away.
const LabelProtected = "weft/protected"

// LabelRequirement is one condition on the labels of an object.
type LabelRequirement struct {
	Key    string
	Values []string // one of these; any value when empty
	Not    bool     // the condition must not hold; also true of objects without the label
}

// maxLabelValues bounds a set of a requirement; more is a list, not a selection.
const maxLabelValues = 100

// ParseLabelRequirement reads KEY=VALUE, KEY!=VALUE, KEY, !KEY,
// "KEY in (A,B)" and "KEY notin (A,B)".
func ParseLabelRequirement(text string) (LabelRequirement, error) {
	if key, set, ok := strings.Cut(text, " in ("); ok && strings.HasSuffix(set, ")") {
		return labelSet(text, key, set, false)
	}
	if key, set, ok := strings.Cut(text, " notin ("); ok && strings.HasSuffix(set, ")") {
		return labelSet(text, key, set, true)
	}
	key, value, found := strings.Cut(text, "=")
	r := LabelRequirement{Key: key}
	switch {
	case found && strings.HasSuffix(key, "!"):
		r.Key, r.Not, r.Values = strings.TrimSuffix(key, "!"), true, []string{value}
	case found:
		r.Values = []string{value}
	case strings.HasPrefix(key, "!"):
		r.Key, r.Not = strings.TrimPrefix(key, "!"), true
	}
	return r, r.check(text)
}

func labelSet(text, key, set string, not bool) (LabelRequirement, error) {
	r := LabelRequirement{Key: strings.TrimSpace(key), Not: not}
	for v := range strings.SplitSeq(strings.TrimSuffix(set, ")"), ",") {
		r.Values = append(r.Values, strings.TrimSpace(v))
	}
	if strings.Contains(set, "(") { // alone it could not be told from a set
		r.Key = ""
	}
	return r, r.check(text)
}

func (r LabelRequirement) check(text string) error {
	switch {
	case r.Key == "" || len(text) > maxLabelValues*MaxLabelBytes || strings.HasPrefix(r.Key, "!") || strings.HasSuffix(r.Key, "!") || strings.Contains(r.Key, "="):
		return Errorf(CodeInvalid, "read label condition %.100q: want KEY=VALUE, KEY!=VALUE, KEY, !KEY, KEY in (A,B) or KEY notin (A,B)", text)
	case len(r.Values) > maxLabelValues:
		return Errorf(CodeInvalid, "read label condition on %s: %d values, at most %d are allowed", r.Key, len(r.Values), maxLabelValues)
	}
	return nil
}

// Matches tells whether labels meet the condition.
func (r LabelRequirement) Matches(labels map[string]string) bool {
	value, has := labels[r.Key]
	return (has && (len(r.Values) == 0 || slices.Contains(r.Values, value))) != r.Not
}

// String is the condition as ParseLabelRequirement reads it.
func (r LabelRequirement) String() string {
	switch {
	case len(r.Values) == 0 && r.Not:
		return "!" + r.Key
	case len(r.Values) == 0:
		return r.Key
	case len(r.Values) > 1 && r.Not:
		return r.Key + " notin (" + strings.Join(r.Values, ",") + ")"
	case len(r.Values) > 1:
		return r.Key + " in (" + strings.Join(r.Values, ",") + ")"
	case r.Not:
		return r.Key + "!=" + r.Values[0]
	}
	return r.Key + "=" + r.Values[0]
}
