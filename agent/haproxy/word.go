// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"fmt"
	"regexp"
	"strings"
)

// bare are words that HAProxy reads as they are, without quotes.
var bare = regexp.MustCompile(`^[A-Za-z0-9_.:/@,=+*()\[\]!%|^-]+$`)

// quoted is a word as it stands in a line: HAProxy's parser gives back exactly the text
// (configuration manual 2.6, section 2.2). Inside single quotes nothing is interpreted; a
// single quote, and what no quotes can hold, stands between them with a backslash.
func quoted(text string) string {
	if bare.MatchString(text) {
		return text
	}
	var b strings.Builder
	b.WriteByte('\'')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\'':
			b.WriteString(`'\''`)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `'\x%02x'`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}

// config is the text of a configuration while it is written, and for each line the object that
// it is there for.
type config struct {
	text   strings.Builder
	owners []string
	owner  string
}

// section begins one; what follows is the owner's.
func (c *config) section(owner string, words ...string) {
	c.owner = owner
	if c.text.Len() > 0 {
		c.add("")
	}
	c.add(joined(words))
}

// line is one of a section.
func (c *config) line(words ...string) { c.add("    " + joined(words)) }

func (c *config) add(line string) {
	c.text.WriteString(line + "\n")
	c.owners = append(c.owners, c.owner)
}

func joined(words []string) string {
	all := make([]string, len(words))
	for i, w := range words {
		all[i] = quoted(w)
	}
	return strings.Join(all, " ")
}

// token is a name of a header or cookie that needs no quotes at any level of HAProxy's parser.
var token = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

// printable tells whether a text has neither control characters nor bytes that are no text.
func printable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] == 0x7f {
			return false
		}
	}
	return true
}

// literal is a text as a format of HAProxy's, which is written as it is: a percent sign begins
// what is evaluated, and spaces in a row would be one.
func literal(text string) string {
	text = strings.ReplaceAll(text, "%", "%%")
	for strings.Contains(text, "  ") {
		text = strings.Replace(text, "  ", ` %[str(" ")]`, 1)
	}
	return text
}

// values are what the placeholders of a header's value stand for.
var values = map[string]string{
	"client-address": "%[src]", "client-port": "%[src_port]",
	"listener-address": "%[dst]", "listener-port": "%[dst_port]",
	"host": "%[req.hdr(host)]", "server-name": "%[ssl_fc_sni]",
	"client-certificate": "%[ssl_c_used]", "client-verify": "%[ssl_c_verify]",
	"client-name": "%[ssl_c_s_dn]", "client-common-name": "%[ssl_c_s_dn(CN)]", "client-issuer": "%[ssl_c_i_dn]",
	"client-fingerprint": "%[ssl_c_sha1,hex]", "client-not-before": "%[ssl_c_notbefore]", "client-not-after": "%[ssl_c_notafter]",
}

var placeholder = regexp.MustCompile(`\{[a-z-]+\}`)

// headerValue is the format of a header that is inserted, protocol what the listener speaks.
func headerValue(text, protocol string) (format string, err error) {
	if text == "" || !printable(text) {
		return "", fmt.Errorf("the value %q is empty or has control characters", text)
	}
	rest := 0
	for _, at := range placeholder.FindAllStringIndex(text, -1) {
		format += literal(text[rest:at[0]])
		name := text[at[0]+1 : at[1]-1]
		switch value, known := values[name]; {
		case name == "protocol":
			format += protocol
		case known:
			format += value
		default:
			return "", fmt.Errorf("{%s} stands for nothing: {client-address}, {client-port}, {protocol} and others do, see the reference of listener", name)
		}
		rest = at[1]
	}
	return format + literal(text[rest:]), nil
}
