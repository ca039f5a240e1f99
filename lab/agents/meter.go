// SPDX-License-Identifier: Apache-2.0

package agents

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"github.com/weft-network/weft/agent/stream"
)

// meter counts the bytes of connections and can break them all at once.
type meter struct {
	up, down atomic.Int64 // bytes to the controller, and from it
	conns    sync.Map     // of *metered
}

// metered is a connection that is counted.
type metered struct {
	net.Conn
	meter *meter
}

func (m *meter) dial(ctx context.Context, address string) (net.Conn, error) {
	c, err := stream.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	x := &metered{c, m}
	m.conns.Store(x, true)
	return x, nil
}

func (c *metered) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.meter.down.Add(int64(n))
	return n, err
}

func (c *metered) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.meter.up.Add(int64(n))
	return n, err
}

func (c *metered) Close() error {
	c.meter.conns.Delete(c)
	return c.Conn.Close()
}

// cut breaks all connections.
func (m *meter) cut() {
	for c := range m.conns.Range {
		c.(*metered).Close() // the agent notices
	}
}
