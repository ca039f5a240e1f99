// SPDX-License-Identifier: Apache-2.0

package plug

import "time"

// SetHeadlessAfter makes tests not wait as long as people should.
func (p *Plugger) SetHeadlessAfter(d time.Duration) { p.headlessAfter = d }
