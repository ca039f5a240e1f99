// SPDX-License-Identifier: Apache-2.0

package link

import (
	"net"

	"github.com/vishvananda/netlink"
)

// Kernel is what is asked of the kernel about the interfaces of one network
// namespace. A *netlink.Handle is one.
type Kernel interface {
	LinkByName(name string) (netlink.Link, error)
	LinkByIndex(index int) (netlink.Link, error)
	LinkList() ([]netlink.Link, error)
	LinkAdd(link netlink.Link) error
	LinkDel(link netlink.Link) error
	LinkSetUp(link netlink.Link) error
	LinkSetDown(link netlink.Link) error
	LinkSetAlias(link netlink.Link, name string) error
	LinkSetGroup(link netlink.Link, group int) error
	LinkSetARPOff(link netlink.Link) error
	LinkSetMTU(link netlink.Link, mtu int) error
	LinkSetHardwareAddr(link netlink.Link, address net.HardwareAddr) error
	LinkSetIP6AddrGenMode(link netlink.Link, mode int) error
	AddrList(link netlink.Link, family int) ([]netlink.Addr, error)
	AddrReplace(link netlink.Link, address *netlink.Addr) error
	AddrDel(link netlink.Link, address *netlink.Addr) error
	RouteList(link netlink.Link, family int) ([]netlink.Route, error)
	RouteGetWithOptions(destination net.IP, options *netlink.RouteGetOptions) ([]netlink.Route, error)
	NeighList(link, family int) ([]netlink.Neigh, error)
	RouteReplace(route *netlink.Route) error
	RouteDel(route *netlink.Route) error
	Close()
}
