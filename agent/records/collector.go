// SPDX-License-Identifier: Apache-2.0

package records

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/weft-network/weft/api"
)

const (
	// udpMessage fits the path to any collector, tcpMessage what a length can say.
	udpMessage = 1400
	tcpMessage = 32 << 10
	// templatesEvery is how often templates are sent again by UDP, which loses some.
	templatesEvery = time.Minute
	connectTimeout = 5 * time.Second
	sendTimeout    = 5 * time.Second
)

// ipfix sends records to a collector.
type ipfix struct {
	at        collector
	encoder   encoder
	connected net.Conn
	described time.Time // when templates were sent last
}

func newIPFIX(at collector, host string, enterprise uint32) *ipfix {
	size := udpMessage
	if at.network == "tcp" {
		size = tcpMessage
	}
	return &ipfix{at: at, encoder: encoder{domain: domainOf(host), enterprise: enterprise, max: size}}
}

func (c *ipfix) name() string { return c.at.network + "://" + c.at.address }

func (c *ipfix) kind() string { return "ipfix" }

func (c *ipfix) write(ctx context.Context, all []api.Record) (leftOut int, err error) {
	if c.connected == nil {
		d := net.Dialer{Timeout: connectTimeout}
		conn, err := d.DialContext(ctx, c.at.network, c.at.address)
		if err != nil {
			return 0, fmt.Errorf("reach collector: %w", err)
		}
		c.connected, c.described = conn, time.Time{}
	}
	now := time.Now()
	began := c.encoder.sequence
	var messages [][]byte
	if c.described.IsZero() || c.at.network == "udp" && now.Sub(c.described) >= templatesEvery {
		messages = append(messages, c.encoder.templates(now))
		c.described = now
	}
	data, leftOut := c.encoder.messages(now, all)
	for _, m := range append(messages, data...) {
		_ = c.connected.SetWriteDeadline(now.Add(sendTimeout))
		if _, err := c.connected.Write(m); err != nil {
			c.connected.Close()
			// All are given again; a collector that counts sees what it had twice.
			c.connected, c.encoder.sequence = nil, began
			return 0, fmt.Errorf("send records: %w", err)
		}
	}
	return leftOut, nil
}

func (c *ipfix) close() error {
	if c.connected == nil {
		return nil
	}
	return c.connected.Close()
}
