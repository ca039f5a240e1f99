// SPDX-License-Identifier: Apache-2.0

package command

import "strings"

// maxDiffLines bounds the table that a comparison fills; longer texts are
// shown whole, old before new.
const maxDiffLines = 3000

// contextLines is how many equal lines are shown around those that differ.
const contextLines = 3

// diffLines compares two texts line by line: each line of the result begins
// with ' ', '-' or '+', and "@" stands for equal lines that are left out.
func diffLines(before, after string) []string {
	a, b := textLines(before), textLines(after)
	if len(a) > maxDiffLines || len(b) > maxDiffLines {
		return append(prefixed("-", a), prefixed("+", b)...)
	}
	return shortenEqual(script(a, b))
}

func textLines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func prefixed(with string, lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = with + l
	}
	return out
}

// script lists all lines of both, by their longest common subsequence.
func script(a, b []string) []string {
	length := make([][]int, len(a)+1) // of the common subsequence from i and j on
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i] == b[j]:
			out = append(out, " "+a[i])
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			out = append(out, "-"+a[i])
			i++
		default:
			out = append(out, "+"+b[j])
			j++
		}
	}
	return append(append(out, prefixed("-", a[i:])...), prefixed("+", b[j:])...)
}

// shortenEqual leaves out equal lines that are far from any that differ.
func shortenEqual(all []string) []string {
	near := make([]bool, len(all))
	differs := false
	for i, l := range all {
		if l[0] == ' ' {
			continue
		}
		differs = true
		for k := max(0, i-contextLines); k <= min(len(all)-1, i+contextLines); k++ {
			near[k] = true
		}
	}
	if !differs {
		return nil
	}
	var out []string
	for i, l := range all {
		switch {
		case near[i]:
			out = append(out, l)
		case i == 0 || near[i-1]:
			out = append(out, "@")
		}
	}
	return out
}
