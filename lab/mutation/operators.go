// SPDX-License-Identifier: Apache-2.0

package mutation

import (
	"strconv"
	"strings"
)

// unit is a C file whose mutants are being listed.
type unit struct {
	name   string
	source string
	tokens []token
	out    []Mutant
}

func (f *unit) is(i int, text string) bool {
	return i >= 0 && i < len(f.tokens) && f.tokens[i].text == text
}

// replace proposes other text for the tokens from first to last.
func (f *unit) replace(first, last int, with string) {
	start, end := f.tokens[first].offset, f.tokens[last].offset+len(f.tokens[last].text)
	f.out = append(f.out, Mutant{
		File: f.name, Line: f.tokens[first].line, Place: f.tokens[first].place, start: start, end: end, with: with,
		Change: change(f.source, start, end, with),
	})
}

// change shows the text on both sides with what is near it on the line.
func change(source string, start, end int, with string) string {
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	short := func(s string) string {
		if s = squeeze(s); len(s) > 70 {
			s = s[:67] + "..."
		}
		return s
	}
	begin := strings.LastIndexByte(source[:start], '\n') + 1
	finish := end + until(source[end:], "\n")
	if strings.Contains(source[start:end], "\n") || end-start > 40 {
		if with == "" || with == ";" {
			return "drop `" + short(source[start:end]) + "`"
		}
		return "`" + short(source[start:end]) + "` becomes `" + short(with) + "`"
	}
	const around = 45
	before, after := squeeze(source[begin:start]), squeeze(source[end:finish])
	if len(before) > around {
		before = "..." + before[len(before)-around:]
	}
	if len(after) > around {
		after = after[:around] + "..."
	}
	from := before + "[" + squeeze(source[start:end]) + "]" + after
	return "`" + from + "` becomes `" + squeeze(with) + "`"
}

// opposite is what a sign becomes between two operands.
var opposite = map[string][]string{
	"==": {"!="}, "!=": {"=="}, "<": {"<="}, "<=": {"<"}, ">": {">="}, ">=": {">"},
	"&&": {"||"}, "||": {"&&"}, "+": {"-"}, "-": {"+"}, "<<": {">>"}, ">>": {"<<"}, "&": {"|"}, "|": {"&"}, "^": {"|"},
	"+=": {"-=", "="}, "|=": {"=", "&="}, "&=": {"|="},
}

// siblings are names that stand for each other's like: each becomes the next.
var siblings = [][]string{
	{"FAMILY_4", "FAMILY_6"},
	{"DIRECTION_OUT", "DIRECTION_IN"},
	{"NEXT_HOP_PORT", "NEXT_HOP_TUNNEL", "NEXT_HOP_GATEWAY", "NEXT_HOP_DISCARD"},
	{"RESOLUTION_UNKNOWN", "RESOLUTION_OWN", "RESOLUTION_NEIGHBOUR", "RESOLUTION_GATEWAY"},
	{"CONNECTION_SENT", "CONNECTION_HEARD", "CONNECTION_PROVEN", "CONNECTION_FIN_SENT", "CONNECTION_FIN_HEARD", "CONNECTION_RESET"},
	{"TCP_FIN", "TCP_SYN", "TCP_RST", "TCP_ACK"},
	{"VERDICT_ANSWERED", "VERDICT_DELIVERED", "VERDICT_TUNNELLED"},
	{"ND_ROUTER", "ND_SOLICITED", "ND_OVERRIDE"},
	{"IPV4_SIZE", "IPV6_SIZE"},
	{"PROTOCOL_ICMP", "PROTOCOL_ICMPV6"},
	{"ICMP_ECHO_REQUEST", "ICMP_ECHO_REPLY"},
	{"ICMPV6_ECHO_REQUEST", "ICMPV6_ECHO_REPLY"},
	{"ETHERTYPE_IPV4", "ETHERTYPE_IPV6", "ETHERTYPE_ARP"},
	{"REASON_MALFORMED", "REASON_NO_PORT"},
	{"true", "false"},
}

// fields are members of one structure that could be taken for each other.
var fields = map[string]string{
	"source": "destination", "destination": "source", "local": "remote", "remote": "local",
	"local_port": "remote_port", "remote_port": "local_port", "source_port": "destination_port", "destination_port": "source_port",
	"gateway4": "gateway6", "gateway6": "gateway4", "local4": "local6", "local6": "local4",
	"vrf_generation": "port_generation", "port_generation": "vrf_generation", "fragment": "later", "later": "fragment",
}

// at lists the mutants that begin at a token.
func (f *unit) at(i int) {
	t := f.tokens[i]
	switch t.kind {
	case kindNumber:
		f.number(i)
	case kindSign:
		if t.text == "!" {
			f.replace(i, i, "")
			return
		}
		if f.operand(i - 1) {
			for _, with := range opposite[t.text] {
				f.replace(i, i, with)
			}
		}
	case kindWord:
		f.word(i)
	}
	f.statement(i)
	f.field(i)
}

// operand says whether a token ends one, so that a sign after it takes two.
func (f *unit) operand(i int) bool {
	t := f.tokens[i]
	if t.text == "return" || t.text == "case" {
		return false
	}
	if t.text == ")" { // a cast, as of (__be32 *)&x, ends with a star or a type
		return !f.is(i-1, "*")
	}
	return t.kind == kindWord || t.kind == kindNumber || t.text == "]"
}

func (f *unit) number(i int) {
	value, err := strconv.ParseUint(f.tokens[i].text, 0, 64)
	if err != nil {
		return
	}
	write := func(v uint64) string {
		if strings.HasPrefix(f.tokens[i].text, "0x") {
			return "0x" + strconv.FormatUint(v, 16)
		}
		return strconv.FormatUint(v, 10)
	}
	f.replace(i, i, write(value+1))
	if value > 0 {
		f.replace(i, i, write(value-1))
	}
}

func (f *unit) word(i int) {
	t := f.tokens[i]
	switch {
	case f.is(i-1, "case") && f.is(i+1, ":"):
		f.replace(i-1, i+1, "")
	case t.text == "if" && f.is(i+1, "("):
		if end := f.closing(i + 1); end > 0 {
			f.replace(i+1, end, "(!"+f.source[f.tokens[i+1].offset:f.tokens[end].offset+1]+")")
		}
	case t.text == "return" && !f.is(i+1, ";"):
		f.verdict(i)
	}
	if t.place != "enum" {
		f.constant(i)
	}
	if with, ok := fields[t.text]; ok && (f.is(i-1, ".") || f.is(i-1, "->")) {
		f.replace(i, i, with)
	}
}

// constant puts another of its kind in the place of a constant.
func (f *unit) constant(i int) {
	t := f.tokens[i].text
	for _, group := range siblings {
		for n, name := range group {
			if name == t {
				f.replace(i, i, group[(n+1)%len(group)])
				return
			}
		}
	}
	if strings.HasPrefix(t, "REASON_") && t != "REASON_NONE" {
		f.replace(i, i, "REASON_MALFORMED")
	}
}

// verdict lets a frame pass that a stage would end, and the other way round.
func (f *unit) verdict(i int) {
	switch {
	case f.is(i+1, "end") || f.is(i+1, "end_with_error"):
		if end := f.closing(i + 2); end > 0 {
			f.replace(i+1, end, "-1 /* NEXT */")
		}
	case f.is(i+1, "NEXT"), f.is(i+1, "TC_ACT_REDIRECT"), f.is(i+1, "action") && f.is(i+2, ";"):
		f.replace(i+1, i+1, "TC_ACT_SHOT")
	}
}

// closing returns the parenthesis that closes the one at i, or 0.
func (f *unit) closing(i int) int {
	depth := 0
	for ; i < len(f.tokens); i++ {
		switch f.tokens[i].text {
		case "(":
			depth++
		case ")":
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return 0
}

// begins says whether a statement begins at i.
func (f *unit) begins(i int) bool {
	if i == 0 || f.tokens[i].place == "enum" {
		return false
	}
	switch f.tokens[i-1].text {
	case ";", "{", "}", "else":
		return true
	case ")":
		depth := 0
		for j := i - 1; j > 0; j-- {
			switch f.tokens[j].text {
			case ")":
				depth++
			case "(":
				if depth--; depth == 0 {
					return f.is(j-1, "if") || f.is(j-1, "for")
				}
			}
		}
	}
	return false
}

var controls = map[string]bool{
	"if": true, "for": true, "while": true, "switch": true, "case": true, "return": true, "break": true, "else": true,
	"default": true, "struct": true, "enum": true, "union": true, "const": true, "barrier_var": true,
}

// statement drops an assignment or a call.
func (f *unit) statement(i int) {
	t := f.tokens[i]
	if !f.begins(i) || controls[t.text] || (t.kind != kindWord && t.text != "*") {
		return
	}
	if f.tokens[i+1].kind == kindWord { // a declaration
		return
	}
	acts := false
	for j := i; j < len(f.tokens); j++ {
		switch f.tokens[j].text {
		case "=", "|=", "&=", "+=", "++", "(":
			acts = true
		case ",":
			if !acts {
				return
			}
		case "{": // of a value, or else no simple statement
			if !acts {
				return
			}
		case ";":
			if acts && f.tokens[i].place == f.tokens[j].place && f.source[f.tokens[i].offset:f.tokens[j].offset] != "" {
				f.replace(i, j, ";")
			}
			return
		}
	}
}

// field drops one designated value of an initialiser.
func (f *unit) field(i int) {
	if !f.is(i, ".") || !(f.is(i-1, "{") || f.is(i-1, ",")) || !f.is(i+2, "=") {
		return
	}
	depth := 0
	for j := i; j < len(f.tokens); j++ {
		switch f.tokens[j].text {
		case "(", "{", "[":
			depth++
		case ",":
			if depth == 0 {
				f.replace(i, j, "")
				return
			}
		case ")", "}", "]":
			if depth == 0 {
				f.replace(i, j-1, "")
				return
			}
			depth--
		}
	}
}
