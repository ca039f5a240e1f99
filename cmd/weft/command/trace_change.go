// SPDX-License-Identifier: Apache-2.0

package command

import (
	"strings"

	"github.com/weft-network/weft/api"
)

// ending is how a way ended that did not lead to where it was to.
type ending struct {
	first, last traceHop
	question    api.TraceQuestion
	from, to    traceEnd
}

// changes is what would have to change for packets that something else than policy
// ended, by the reason. Reasons that are the kernel's refusals have none.
var changes = map[string]string{
	"no-route":              "nobody has {address} in network {network} or in one that is joined to it: weft routes {network}; a network-policy that both are attached to joins networks: weft attach POLICY {network} NETWORK",
	"arp-unknown-target":    "nobody in network {network} has {address}: give it to a port that is plugged (weft create address --network {network} --ip {address} --port PORT), or find out what becomes of who has it: weft why port PORT",
	"nd-unknown-target":     "nobody in network {network} has {address}: give it to a port that is plugged (weft create address --network {network} --ip {address} --port PORT), or find out what becomes of who has it: weft why port PORT",
	"spoofed-address":       "the address that it comes from is to be one of port {sender}: weft create address --network {network} --port {sender} --ip ADDRESS; or allowed to it: allowedAddressPairs in weft edit port {sender}",
	"port-disabled":         "adminState of port {sender} and of its network is to be up: weft edit port {sender}, weft edit network {network}",
	"receiver-disabled":     "adminState of port {receiver} and of its network is to be up: weft edit port {receiver}",
	"unresolved-next-hop":   "port {receiver} is to be plugged on its host, and that host's tunnel address known: weft why port {receiver}; of a virtual address, host {host} is to serve those: weft why load-balancer NAME",
	"unknown-tunnel-source": "host {host} is to know that the sender's host has workloads of the network: weft why port {sender}",
	"unknown-vni":           "host {host} is to have a workload of the receiver's network: weft why port {receiver}",
	"discard-route":         "a route-table of network {network} discards it: weft routes {network}",
	"ttl-expired":           "it needs more hops (--ttl), unless routes lead in a circle: weft routes {network}",
	"too-big":               "it is to be smaller, or the MTU of network and underlay larger: weft describe network {network} says what the MTU follows from",
	"frame-too-big":         "it is to be smaller, or the MTU of network and underlay larger: weft describe network {network} says what the MTU follows from",
	"connection-limit":      "the port at one of the ends has as many conversations as its connectionLimit: raise it (weft edit port PORT), or end some: weft flows --port {sender}",
	"gateway-unanswered":    "a gateway answers echo requests, and is where services of the network are: services in weft edit network {network}",
	"wrong-destination-mac": "it is to go to the MAC of the gateway or of who has the address: leave --to-mac out",
	"no-encapsulation":      "both hosts are to be able to do one of the encapsulations of network {network}: weft edit network {network}; what hosts can: encapsulations in weft get hosts -o yaml",
	"broadcast":             "network {network} is to flood: flooding in weft edit network {network}",
	"multicast":             "network {network} is to flood: flooding in weft edit network {network}",
	"unknown-mac":           "a port of network {network} is to have the MAC, or its macLearning to have learned it: weft get macs --host {host}",
	"unknown-protocol":      "network {network} is to carry frames: forwarding in weft edit network {network}",
	"no-port-address":       "port {receiver} is to have an address of the family, in a subnet with a gateway: weft describe port {receiver}",
	"no-listener":           "a load-balancer with the address is to have a listener of the protocol and port: weft load-balancer NAME says which it has; weft create listener",
	"no-member":             "a member of the listener's pool is to serve: weft load-balancer NAME says who does, and why others do not",
	"no-mapping":            "the member is to be of the load-balancer, and its host is to know it: weft load-balancer NAME",
	"mapping-exhausted":     "the client is to use another port of its own, or the member to end conversations that it has with it: weft flows --port {receiver}",
	"mapping-taken":         "it is to come from another port: what both ends say by these is a conversation through a load-balancer",
	"hairpin-source":        "who calls a virtual address that it serves itself is to do it from the address that serves; nobody else may have 169.254.64.1 or fd77:6566:7400::1, which such a member sees of itself",
	"policy-absent":         "what a port asks is not in the kernel of host {host} yet: weft port {sender}, weft port {receiver}",
}

// change says what would have to change, empty where nobody could say.
func (e ending) change() string {
	for _, h := range []traceHop{e.last, e.first} {
		if h.items["missing route"] != "" {
			return "host " + h.Host + " is to have the route that is missing: weft capacity --host " + h.Host + " says which table is full, and weft-agent run --table-size makes room"
		}
	}
	network, sender, receiver := "NETWORK", "PORT", "PORT"
	if e.from.port != nil {
		network, sender = e.from.port.Spec.Network.Name, e.from.port.Meta.FQName
	}
	text := changes[e.last.Reason]
	if e.to.port != nil {
		receiver = e.to.port.Meta.FQName
		if other := e.to.port.Spec.Network.Name; e.last.Reason == "no-route" && other != network {
			text = "networks {network} and " + other + " are not joined: attach both to a network-policy with a rule that passes and names them (weft attach POLICY {network} " + other + "); if they are, weft why port {receiver}"
		}
	}
	return strings.NewReplacer("{network}", network, "{receiver}", receiver, "{sender}", sender, "{host}", e.last.Host,
		"{address}", e.question.To.String()).Replace(text)
}
