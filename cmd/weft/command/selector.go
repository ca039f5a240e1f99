// SPDX-License-Identifier: Apache-2.0

package command

import "github.com/weft-network/weft/api"

// selector is conditions on labels; all must hold.
type selector []api.LabelRequirement

// parseSelector reads conditions, several in a word separated by commas.
func parseSelector(words []string) (selector, error) {
	var s selector
	for _, w := range words {
		for _, text := range splitConditions(w) {
			r, err := api.ParseLabelRequirement(text)
			if err != nil {
				return nil, usagef("-l: %v", err)
			}
			s = append(s, r)
		}
	}
	return s, nil
}

// splitConditions cuts at the commas that are not within parentheses.
func splitConditions(word string) []string {
	var parts []string
	depth, start := 0, 0
	for i, c := range word {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, word[start:i])
			start = i + 1
		}
	}
	return append(parts, word[start:])
}

func (s selector) matches(labels map[string]string) bool {
	return api.Selection{Labels: s}.Matches(&api.Domain{Header: api.Header{Meta: api.Meta{Labels: labels}}})
}

// words are the conditions as the server takes them.
func (s selector) words() []string {
	var words []string
	for _, r := range s {
		words = append(words, r.String())
	}
	return words
}
