// SPDX-License-Identifier: Apache-2.0

package desired

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/hoststream"
)

// Check is how a workload of this host is to be tried. It is comparable.
type Check struct {
	ID            string // of the row
	Name          string // of the member or health-check
	Port          string // UUID
	Address       netip.Addr
	Type          string // the words of api.Probe
	TransportPort uint16
	Interval      time.Duration
	Timeout       time.Duration
	Rise, Fall    int
	HTTP          api.HTTPTest // for http and https
}

// The shortest times that are taken: nobody is tried all the time.
const (
	minInterval = 50 * time.Millisecond
	minTimeout  = 10 * time.Millisecond
)

const checkPrefix = "check/"

// CheckRow is the key of a check's row.
func CheckRow(id string) string { return checkPrefix + id }

// removeCheck forgets a check by its key, and tells whether the key is of one.
func (r *Rows) removeCheck(key string) bool {
	id, is := strings.CutPrefix(key, checkPrefix)
	if is {
		delete(r.Checks, id)
	}
	return is
}

func (r *Rows) insertCheck(key string, m *hoststream.Check) (string, error) {
	address, ok := netip.AddrFromSlice(m.Address)
	if !ok {
		return "", fmt.Errorf("check of %s: address of %d bytes", m.Name, len(m.Address))
	}
	if m.TransportPort > 65535 || m.Rise < 1 || m.Fall < 1 {
		return "", fmt.Errorf("check of %s: transport port %d, %d good or %d failed tries cannot be", m.Name, m.TransportPort, m.Rise, m.Fall)
	}
	c := Check{
		ID: m.Id, Name: m.Name, Port: m.Port, Address: address.Unmap(), Type: m.Type, TransportPort: uint16(m.TransportPort),
		Interval: max(time.Duration(m.Interval)*time.Millisecond, minInterval), Timeout: max(time.Duration(m.Timeout)*time.Millisecond, minTimeout),
		Rise: int(m.Rise), Fall: int(m.Fall),
	}
	if h := m.Http; h != nil {
		c.HTTP = api.HTTPTest{Method: h.Method, Path: h.Path, Host: h.Host, Version: h.Version, Codes: h.Codes}
	}
	k := CheckRow(c.ID)
	if k == key {
		r.Checks[c.ID] = c
	}
	return k, nil
}
