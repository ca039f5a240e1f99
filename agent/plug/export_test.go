// SPDX-License-Identifier: Apache-2.0

package plug

import "time"

// SetHeadlessAfter makes tests not wait as long as people should.
func (p *Plugger) SetHeadlessAfter(d time.Duration) { p.headlessAfter = d }

// InFlight tells whether something is being done for eth0 of a container.
func (p *Plugger) InFlight(container string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, is := p.flights[flightKey{container, "eth0"}]
	return is
}
