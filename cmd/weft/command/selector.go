// SPDX-License-Identifier: Apache-2.0

package command

import "strings"

// selector is conditions on labels; all must hold.
type selector []requirement

type requirement struct {
	key, value string
	anyValue   bool
	not        bool
}

// parseSelector reads KEY=VALUE, KEY!=VALUE and KEY.
func parseSelector(words []string) (selector, error) {
	var s selector
	for _, w := range words {
		key, value, found := strings.Cut(w, "=")
		r := requirement{key: key, value: value, anyValue: !found}
		if found && strings.HasSuffix(key, "!") {
			r.key, r.not = strings.TrimSuffix(key, "!"), true
		}
		if r.key == "" {
			return nil, usagef("-l %q: want KEY=VALUE, KEY!=VALUE or KEY", w)
		}
		s = append(s, r)
	}
	return s, nil
}

func (s selector) matches(labels map[string]string) bool {
	for _, r := range s {
		value, has := labels[r.key]
		if holds := has && (r.anyValue || value == r.value); holds == r.not {
			return false
		}
	}
	return true
}
