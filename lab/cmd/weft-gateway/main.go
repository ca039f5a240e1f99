// SPDX-License-Identifier: Apache-2.0

// Command weft-gateway is the edge of another network, for tests and trials:
// packets of a tun device travel to hosts by MPLS over UDP, and back.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/weft-network/weft/lab/gateway"
)

func main() {
	var o gateway.Options
	var address string
	var label uint
	flag.StringVar(&address, "address", "", "own address in the underlay")
	flag.StringVar(&o.Device, "device", "vpn", "name of the tun device")
	flag.UintVar(&label, "label", 17, "label with which packets for here come")
	flag.Func("route", "PREFIX=HOST/LABEL: where packets of the device go; repeatable", func(text string) error {
		r, err := parseRoute(text)
		o.Routes = append(o.Routes, r)
		return err
	})
	flag.Parse()
	o.Label = uint32(label)
	if err := run(o, address); err != nil {
		fmt.Fprintln(os.Stderr, "weft-gateway:", err)
		os.Exit(1)
	}
}

func parseRoute(text string) (r gateway.Route, err error) {
	prefix, rest, _ := strings.Cut(text, "=")
	to, label, _ := strings.Cut(rest, "/")
	if r.Prefix, err = netip.ParsePrefix(prefix); err != nil {
		return r, err
	}
	if r.To, err = netip.ParseAddr(to); err != nil {
		return r, err
	}
	n, err := strconv.ParseUint(label, 10, 20)
	r.Label = uint32(n)
	return r, err
}

func run(o gateway.Options, address string) error {
	var err error
	if o.Address, err = netip.ParseAddr(address); err != nil {
		return fmt.Errorf("read -address: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	g, err := gateway.Open(o)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if err := g.Run(ctx); ctx.Err() == nil {
		return err
	}
	return nil // told to end
}
