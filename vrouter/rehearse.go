// SPDX-License-Identifier: Apache-2.0

package vrouter

// Rehearse loads programs that record like a Tracer's and besides leave
// connections and fragments behind as the product does. It is for tests of what
// others put into the tables; a product that does not call it does not have them.
func Rehearse(d *Datapath) (*Tracer, error) {
	return d.newTracer(tracing{loadRehearsePort, loadRehearseTunnel, loadRehearseHost, loadRehearseFabric, loadRehearseBridge, loadRehearseMapping, loadRehearseAnswer})
}
