// SPDX-License-Identifier: Apache-2.0

package mutation

import "strings"

type kind int

const (
	kindWord kind = iota
	kindNumber
	kindText // a string or a character
	kindSign
)

// token is a piece of C outside comments, directives and branches that the
// product does not compile.
type token struct {
	kind   kind
	text   string
	offset int
	line   int
	place  string // function, or "enum"; empty where nothing can be changed
}

// signs of more than one character, longer ones first.
var signs = []string{"<<=", ">>=", "...", "->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||",
	"+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "##"}

// lexer splits C. It knows as much of the preprocessor as the packet path
// uses: branches on names that the product does not define.
type lexer struct {
	source  string
	at      int
	line    int
	tokens  []token
	skipped []bool // of the branches open here, whether the product leaves them out
}

func lex(source string) []token {
	l := &lexer{source: source, line: 1}
	for l.at < len(l.source) {
		l.next()
	}
	setPlaces(l.tokens)
	return l.tokens
}

func (l *lexer) next() {
	rest := l.source[l.at:]
	switch c := rest[0]; {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		l.skip(1)
	case strings.HasPrefix(rest, "//"):
		l.skip(until(rest, "\n"))
	case strings.HasPrefix(rest, "/*"):
		l.skip(min(until(rest, "*/")+2, len(rest)))
	case c == '#':
		l.directive(rest)
	case c == '"' || c == '\'':
		l.take(kindText, quotedLength(rest))
	case c >= '0' && c <= '9':
		l.take(kindNumber, wordLength(rest))
	case wordLength(rest) > 0:
		l.take(kindWord, wordLength(rest))
	default:
		size := 1
		for _, s := range signs {
			if strings.HasPrefix(rest, s) {
				size = len(s)
				break
			}
		}
		l.take(kindSign, size)
	}
}

func until(text, what string) int {
	if n := strings.Index(text, what); n >= 0 {
		return n
	}
	return len(text)
}

func wordLength(text string) int {
	n := 0
	for n < len(text) && (text[n] == '_' || text[n] >= '0' && text[n] <= '9' || text[n] >= 'a' && text[n] <= 'z' || text[n] >= 'A' && text[n] <= 'Z') {
		n++
	}
	return n
}

func quotedLength(text string) int {
	for n := 1; n < len(text); n++ {
		switch text[n] {
		case '\\':
			n++
		case text[0]:
			return n + 1
		}
	}
	return len(text)
}

// directive skips a line of the preprocessor with its continuations.
func (l *lexer) directive(rest string) {
	size := until(rest, "\n")
	for size < len(rest) && strings.HasSuffix(strings.TrimRight(rest[:size], " \t"), "\\") {
		size += 1 + until(rest[size+1:], "\n")
	}
	text := strings.TrimSpace(rest[1:size])
	switch {
	case strings.HasPrefix(text, "ifndef"):
		l.skipped = append(l.skipped, false)
	case strings.HasPrefix(text, "if"):
		l.skipped = append(l.skipped, true)
	case strings.HasPrefix(text, "else") && len(l.skipped) > 0:
		l.skipped[len(l.skipped)-1] = !l.skipped[len(l.skipped)-1]
	case strings.HasPrefix(text, "endif") && len(l.skipped) > 0:
		l.skipped = l.skipped[:len(l.skipped)-1]
	}
	l.skip(size)
}

func (l *lexer) skip(size int) {
	l.line += strings.Count(l.source[l.at:l.at+size], "\n")
	l.at += size
}

func (l *lexer) take(k kind, size int) {
	out := false
	for _, s := range l.skipped {
		out = out || s
	}
	if !out {
		l.tokens = append(l.tokens, token{kind: k, text: l.source[l.at : l.at+size], offset: l.at, line: l.line})
	}
	l.skip(size)
}

// setPlaces says of each token in which function it is, or that it is the
// value of an enum. Types and tables have no place: they are a contract with
// Go, which make generate-check guards.
func setPlaces(tokens []token) {
	depth, place, start := 0, "", 0
	for i := range tokens {
		switch tokens[i].text {
		case "{":
			if depth == 0 {
				place = placeOf(tokens[start:i])
			}
			depth++
		case "}":
			depth--
			if depth == 0 {
				place, start = "", i+1
			}
		case ";":
			if depth == 0 {
				start = i + 1
			}
		}
		if depth > 0 {
			tokens[i].place = place
		}
	}
}

// placeOf names what a brace opens by the tokens before it.
func placeOf(head []token) string {
	if len(head) == 0 {
		return ""
	}
	if head[len(head)-1].text == ")" {
		for i := 1; i < len(head); i++ {
			if head[i].text == "(" && head[i-1].kind == kindWord && head[i-1].text != "SEC" && head[i-1].text != "__attribute__" {
				return head[i-1].text
			}
		}
		return ""
	}
	for _, t := range head {
		if t.text == "enum" {
			return "enum"
		}
	}
	return ""
}
