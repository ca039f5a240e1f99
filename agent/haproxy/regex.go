// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxExpression bounds the text that an expression may become.
const maxExpression = 4096

// expression is a regular expression of a rule in words that HAProxy's library (PCRE2, by bytes) takes
// and understands as ours: it is parsed in RE2's syntax, which is within PCRE2's but for some ways to
// write it, and written anew. What is not ASCII stands in requests with percent signs.
func expression(text string) (string, error) {
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return "", fmt.Errorf("is no regular expression in RE2's syntax: %w", err)
	}
	if err := asciiOnly(re); err != nil {
		return "", err
	}
	// The end of all characters is that of all bytes. Nothing else is written so.
	written := strings.ReplaceAll(re.String(), `\x{10ffff}`, `\xff`)
	if len(written) > maxExpression {
		return "", fmt.Errorf("is too long once it is written out (%d bytes, at most %d)", len(written), maxExpression)
	}
	return written, nil
}

// asciiOnly refuses characters that are several bytes. Groups lose their names, for which PCRE2 has
// other rules.
func asciiOnly(re *syntax.Regexp) error {
	re.Name = ""
	switch re.Op {
	case syntax.OpLiteral:
		if i := slices.IndexFunc(re.Rune, func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
			return fmt.Errorf("has %q: write what is not ASCII as requests have it, with percent signs", re.Rune[i])
		}
	case syntax.OpCharClass:
		return asciiClass(re)
	case syntax.OpNoMatch:
		return errors.New("has a class that nothing is in")
	}
	for _, sub := range re.Sub {
		if err := asciiOnly(sub); err != nil {
			return err
		}
	}
	return nil
}

// asciiClass keeps the ASCII of a class. The rest must be in it as a whole or not at all, but for
// what folding of case added or left out.
func asciiClass(re *syntax.Regexp) error {
	var kept []rune
	some := 0
	for i := 0; i < len(re.Rune); i += 2 {
		lo, hi := re.Rune[i], re.Rune[i+1]
		if lo < utf8.RuneSelf {
			kept = append(kept, lo, min(hi, utf8.RuneSelf-1))
			lo = utf8.RuneSelf
		}
		some += int(max(hi-lo+1, 0))
	}
	switch all := int(unicode.MaxRune) + 1 - utf8.RuneSelf; {
	case some >= all-folded:
		if last := len(kept) - 1; last > 0 && kept[last] == utf8.RuneSelf-1 {
			kept[last] = unicode.MaxRune
		} else {
			kept = append(kept, utf8.RuneSelf, unicode.MaxRune)
		}
	case some > folded:
		return errors.New("has a class with some of what is not ASCII: only bytes are compared")
	}
	if len(kept) == 0 {
		return errors.New("has a class without any ASCII")
	}
	re.Rune = kept
	return nil
}

// folded is how many characters that are not ASCII equal a letter when case makes no difference:
// the long s and the sign of kelvin. A class may be written with as many others; they are passed over.
const folded = 2
