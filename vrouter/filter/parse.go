// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Bounds of a filter.
const (
	// MaxText is how long its text may be.
	MaxText = 1024
	// maxTests bounds the program: what the kernel checks before it takes it.
	maxTests = 512
	maxDepth = 32 // of parentheses and not
)

// Parse reads a filter. No words at all want everything.
func Parse(text string) (Filter, error) {
	text = strings.TrimSpace(text)
	if len(text) > MaxText {
		return Filter{}, fmt.Errorf("read filter: it has %d bytes, and may have %d", len(text), MaxText)
	}
	p := parser{words: split(text)}
	if len(p.words) == 0 {
		return Filter{}, nil
	}
	root, err := p.expression()
	if err == nil && p.at < len(p.words) {
		err = p.expected("and, or or the end")
	}
	if err != nil {
		return Filter{}, fmt.Errorf("read filter %q: %w", text, err)
	}
	if n := tests(root); n > maxTests {
		return Filter{}, fmt.Errorf("read filter: it takes %d comparisons, and may take %d: say it with fewer addresses and ports", n, maxTests)
	}
	return Filter{text: text, root: root}, nil
}

// split makes words of a text; parentheses and signs are words.
func split(text string) []string {
	for _, sign := range []string{"(", ")", "!"} {
		text = strings.ReplaceAll(text, sign, " "+sign+" ")
	}
	text = strings.ReplaceAll(text, "&&", " and ")
	text = strings.ReplaceAll(text, "||", " or ")
	return strings.Fields(text)
}

type parser struct {
	words []string
	at    int
	depth int
	last  qualifiers // of what came before: "port 53 or 80"
}

// qualifiers are the words before an address or number.
type qualifiers struct {
	protocol string
	direction
	kind string
}

func (p *parser) peek() string {
	if p.at < len(p.words) {
		return strings.ToLower(p.words[p.at])
	}
	return ""
}

func (p *parser) take(words ...string) bool {
	for _, w := range words {
		if p.peek() == w {
			p.at++
			return true
		}
	}
	return false
}

func (p *parser) expected(what string) error {
	if p.at >= len(p.words) {
		return fmt.Errorf("it ends where %s should be", what)
	}
	return fmt.Errorf("%q is where %s should be", p.words[p.at], what)
}

// expression: and and or bind alike, from the left, as in tcpdump.
func (p *parser) expression() (node, error) {
	left, err := p.factor()
	for err == nil {
		var right node
		switch {
		case p.take("and"):
			right, err = p.factor()
			left = all{left, right}
		case p.take("or"):
			right, err = p.factor()
			left = some{left, right}
		default:
			return left, nil
		}
	}
	return nil, err
}

func (p *parser) factor() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("more than %d parentheses and nots are in each other", maxDepth)
	}
	defer func() { p.depth-- }()
	if p.take("not", "!") {
		n, err := p.factor()
		return not{n}, err
	}
	if !p.take("(") {
		return p.primitive()
	}
	n, err := p.expression()
	if err == nil && !p.take(")") {
		err = p.expected("a closing parenthesis")
	}
	return n, err
}

// kinds are the words that say what follows them.
var kinds = map[string]bool{"host": true, "net": true, "port": true, "portrange": true, "proto": true}

// primitive is [protocol] [direction] [kind] value, or a word that says something
// by itself.
func (p *parser) primitive() (node, error) {
	var q qualifiers
	begin := p.at
	word := p.peek()
	switch word {
	case "less", "greater":
		p.at++
		n, err := p.number(math.MaxUint16 * 2)
		if word == "less" {
			return test{from: atLength, most: n}, err
		}
		return test{from: atLength, least: n, most: math.MaxUint32}, err
	case "broadcast", "multicast":
		p.at++
		return cast("ether", word)
	}
	if _, is := alone[word]; is || word == "ether" {
		q.protocol = word
		p.at++
	}
	if (q.protocol == "ether" || q.protocol == "ip" || q.protocol == "ip6") && (p.peek() == "broadcast" || p.peek() == "multicast") {
		p.at++
		return cast(q.protocol, p.words[p.at-1])
	}
	q.direction = p.direction()
	if kinds[p.peek()] {
		q.kind = p.peek()
		p.at++
	}
	if p.at == begin { // a value by itself
		if q = p.last; q.kind == "" && q.direction == either {
			return nil, p.expected("a word of a filter: host, net, port, portrange, proto, src, dst, ether, ip, ip6, arp, rarp, tcp, udp, sctp, icmp, icmp6, igmp, esp, ah, less, greater, broadcast or multicast, or not")
		}
	}
	if q.direction == either && q.kind == "" && q.protocol != "ether" && q.protocol != "" {
		p.last = qualifiers{}
		return alone[q.protocol], nil
	}
	p.last = q
	return p.value(q)
}

// direction reads src, dst, and both with a word between.
func (p *parser) direction() direction {
	one := map[string]direction{"src": source, "dst": destination}
	first, there := one[p.peek()]
	if !there {
		return either
	}
	p.at++
	if p.at+1 < len(p.words) {
		word, other := p.peek(), one[strings.ToLower(p.words[p.at+1])]
		if (word == "or" || word == "and") && other != either && other != first {
			p.at += 2
			if word == "and" {
				return both
			}
			return either
		}
	}
	return first
}

// value reads what the qualifiers are about.
func (p *parser) value(q qualifiers) (node, error) {
	if p.at >= len(p.words) {
		return nil, p.expected("an address or a number")
	}
	word := p.words[p.at]
	p.at++
	n, err := q.of(word)
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (q qualifiers) of(word string) (node, error) {
	if q.protocol == "ether" {
		return q.ofEthernet(word)
	}
	switch q.kind {
	case "port", "portrange":
		return q.ofPorts(word)
	case "proto":
		return q.ofProtocol(word)
	}
	if _, has := addresses[q.protocol]; q.protocol != "" && !has {
		return nil, fmt.Errorf("%s has no addresses: say ip, ip6 or arp before %q, or port", q.protocol, word)
	}
	prefix, err := network(word, q.kind == "net")
	if err != nil {
		return nil, err
	}
	if q.protocol != "" && (q.protocol == "ip6") != prefix.Addr().Is6() {
		return nil, fmt.Errorf("%s has no address %s", q.protocol, word)
	}
	return within(q.protocol, q.direction, prefix), nil
}

func (q qualifiers) ofEthernet(word string) (node, error) {
	if q.kind == "proto" {
		if n, is := map[string]uint32{"ip": carries4, "ip6": carries6, "arp": carriesARP, "rarp": carriesRARP}[strings.ToLower(strings.TrimPrefix(word, `\`))]; is {
			return carries(n), nil
		}
		n, err := strconv.ParseUint(word, 0, 16)
		if err != nil || n < 0x600 {
			return nil, fmt.Errorf("%q is no ethertype: ip, ip6, arp, rarp or a number from 0x600 to 0xffff", word)
		}
		return carries(uint32(n)), nil
	}
	if q.kind != "" && q.kind != "host" {
		return nil, fmt.Errorf("ether has no %s", q.kind)
	}
	a, err := net.ParseMAC(word)
	if err != nil || len(a) != 6 {
		return nil, fmt.Errorf("%q is no Ethernet address", word)
	}
	return hardware(q.direction, a), nil
}

func (q qualifiers) ofPorts(word string) (node, error) {
	if _, has := transports[q.protocol]; !has && q.protocol != "" {
		return nil, fmt.Errorf("%s has no ports: say tcp, udp, sctp or nothing before them, or join the two with and", q.protocol)
	}
	low, high, ranged := strings.Cut(word, "-")
	if !ranged {
		high = low
	}
	from, err1 := strconv.ParseUint(low, 10, 16)
	to, err2 := strconv.ParseUint(high, 10, 16)
	if err1 != nil || err2 != nil || ranged != (q.kind == "portrange") {
		return nil, fmt.Errorf("%q is no %s: write numbers, as port 53 or portrange 8000-8080", word, q.kind)
	}
	return ports(q.protocol, q.direction, uint16(min(from, to)), uint16(max(from, to))), nil
}

func (q qualifiers) ofProtocol(word string) (node, error) {
	number, err := strconv.ParseUint(word, 0, 8)
	if n, named := map[string]uint64{"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "sctp": 132}[strings.ToLower(strings.TrimPrefix(word, `\`))]; named {
		number, err = n, nil
	}
	if err != nil || q.direction != either {
		return nil, fmt.Errorf("%q is no protocol: write a number up to 255", word)
	}
	switch q.protocol {
	case "ip":
		return transport4(uint32(number)), nil
	case "ip6":
		return transport6(uint32(number)), nil
	case "":
		return some{transport6(uint32(number)), transport4(uint32(number))}, nil
	}
	return nil, fmt.Errorf("%s carries no protocol by number", q.protocol)
}

// network reads an address, or where a net is asked for a prefix. Of IPv4 the rest
// may be missing: net 10.1 is 10.1.0.0/16.
func network(word string, isNet bool) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(word); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	text, length, cut := strings.Cut(word, "/")
	if parts := strings.Count(text, "."); isNet && parts < 3 && text != "" && !strings.Contains(text, ":") {
		if !cut {
			length = strconv.Itoa(8 * (parts + 1))
		}
		text += strings.Repeat(".0", 3-parts)
	} else if !cut {
		return netip.Prefix{}, fmt.Errorf("%q is no address; names are not looked up", word)
	}
	prefix, err := netip.ParsePrefix(text + "/" + length)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%q is no address or prefix; names are not looked up", word)
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("%s has bits beyond its length: it is in %s", word, prefix.Masked())
	}
	return prefix, nil
}

// cast is what goes to several, of Ethernet or of IP.
func cast(protocol, word string) (node, error) {
	switch protocol + " " + strings.ToLower(word) {
	case "ether broadcast":
		return all{is(2, 4, allOnes), is(0, 2, 0xffff)}, nil
	case "ether multicast":
		return masked(0, 1, 1, 1), nil
	case "ip multicast":
		return all{carries(carries4), test{offset: ipv4 + 16, size: 1, least: 0xe0, most: 0xff}}, nil
	case "ip6 multicast":
		return all{carries(carries6), is(ipv6+24, 1, 0xff)}, nil
	}
	return nil, fmt.Errorf("%s %s is not known: which address that is depends on the network", protocol, word)
}

func (p *parser) number(most uint64) (uint32, error) {
	n, err := strconv.ParseUint(p.peek(), 10, 32)
	if err != nil || n > most {
		return 0, p.expected("a number")
	}
	p.at++
	return uint32(n), nil
}
