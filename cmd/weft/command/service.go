// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/weft-network/weft/api"
)

const (
	// anyProtocol stands for every protocol.
	anyProtocol = "all"
	// fromPorts begins the source ports of a service.
	fromPorts = ":from="
	// serviceForm is how a service is written.
	serviceForm = "PROTOCOL[/PORTS], e.g. tcp/443, udp/5000-5010, tcp/https (a named port), icmp/8 (a type), icmp/3/4 (type and code), all, tcp/179" + fromPorts + "1024-65535"
)

// parseService reads which packets are meant.
func parseService(word string) (api.Match, error) {
	bad := usagef("service %q: want %s", word, serviceForm)
	to, from, sourced := strings.Cut(word, fromPorts)
	f := strings.Split(to, "/")
	m := api.Match{Protocol: api.Protocol(f[0])}
	if f[0] == anyProtocol {
		m.Protocol = ""
	}
	if _, known := m.Protocol.Number(); !known && f[0] != anyProtocol {
		return m, bad
	}
	if sourced {
		if m.SourcePorts = parsePorts(from); m.SourcePorts == nil {
			return m, bad
		}
	}
	icmp := m.Protocol.Key() == "1" || m.Protocol.Key() == "58"
	switch {
	case len(f) == 1:
		return m, nil
	case icmp && len(f) <= 3:
		for i, field := range []**int{&m.ICMPType, &m.ICMPCode}[:len(f)-1] {
			n, err := strconv.Atoi(f[i+1])
			if err != nil {
				return m, bad
			}
			*field = &n
		}
		return m, nil
	case len(f) != 2 || f[1] == "" || !m.Protocol.HasPorts():
		return m, bad
	}
	if f[1][0] < '0' || f[1][0] > '9' {
		m.PortName = f[1]
		return m, nil
	}
	if m.Ports = parsePorts(f[1]); m.Ports == nil {
		return m, bad
	}
	return m, nil
}

// parsePorts reads PORT or FROM-TO; nil when it is neither.
func parsePorts(word string) *api.PortRange {
	first, last, ranged := strings.Cut(word, "-")
	var r api.PortRange
	var err error
	if r.From, err = strconv.Atoi(first); err != nil {
		return nil
	}
	if ranged {
		if r.To, err = strconv.Atoi(last); err != nil {
			return nil
		}
	}
	return &r
}

// serviceText writes a service the way parseService reads it.
func serviceText(m api.Match) string {
	text := string(m.Protocol)
	if text == "" {
		text = anyProtocol
	}
	switch {
	case m.Ports != nil:
		text += "/" + m.Ports.String()
	case m.PortName != "":
		text += "/" + m.PortName
	case m.ICMPType != nil:
		text += fmt.Sprintf("/%d", *m.ICMPType)
		if m.ICMPCode != nil {
			text += fmt.Sprintf("/%d", *m.ICMPCode)
		}
	}
	if m.SourcePorts != nil {
		text += fromPorts + m.SourcePorts.String()
	}
	return text
}
