// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/ns"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/attachment"
)

// answerSlack is what the agent has left for its answer when its own time is over.
const answerSlack = 10 * time.Second

// deadline bounds everything but ADD, which waits for others.
const deadline = 30 * time.Second

// ask reads the configuration and makes a client with the time it has.
func ask(data []byte, bound func(*config) time.Duration) (*config, *attachment.Client, context.Context, context.CancelFunc, error) {
	c, err := readConfig(data)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bound(c))
	return c, attachment.NewClient(c.Socket), ctx, cancel, nil
}

func short(*config) time.Duration { return deadline }

func keyOf(c *config, a *skel.CmdArgs) attachment.Key {
	return attachment.Key{Container: a.ContainerID, Ifname: a.IfName, Config: c.Name}
}

func add(a *skel.CmdArgs) error {
	c, agent, ctx, cancel, err := ask(a.StdinData, func(c *config) time.Duration { return c.timeout() + answerSlack })
	if err != nil {
		return err
	}
	defer cancel()
	if len(c.RawPrevResult) > 0 {
		return types.NewError(types.ErrInvalidNetworkConfig, "another plugin comes before this one: put weft-cni first in the list", "")
	}
	if err := c.refuseCapabilities(); err != nil {
		return err
	}
	if _, err := os.Stat(a.Netns); err != nil {
		return types.NewError(types.ErrInvalidNetNS, fmt.Sprintf("find the container's network namespace: %v", err), "")
	}
	if own, err := ns.CheckNetNS(a.Netns); err != nil {
		return err
	} else if own { // before anything is made there
		return types.NewError(types.ErrInvalidNetNS, fmt.Sprintf("network namespace %s is the host's own", a.Netns), "")
	}
	port, err := c.port(a.Args, a.IfName)
	if err != nil {
		return err
	}
	answer, err := agent.Attach(ctx, attachment.Request{
		Key: keyOf(c, a), Port: port, Network: c.Network, Netns: a.Netns, TimeoutSeconds: int(c.timeout() / time.Second),
	})
	if err != nil {
		return failure(err)
	}
	return types.PrintResult(result(answer, a), c.CNIVersion)
}

// result says what was made in the protocol's words.
func result(r attachment.Answer, a *skel.CmdArgs) *current.Result {
	out := &current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []*current.Interface{
			{Name: r.Interface, Mtu: r.MTU},
			{Name: a.IfName, Mac: r.MAC, Mtu: r.MTU, Sandbox: a.Netns},
		},
	}
	routed := map[bool]bool{} // by whether it is IPv6: one default route a family
	for _, address := range r.Addresses {
		ip, bits := address.Prefix.Addr(), address.Prefix.Bits()
		one := &current.IPConfig{Interface: current.Int(1), Address: net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(bits, ip.BitLen())}}
		if address.Gateway.IsValid() {
			one.Gateway = address.Gateway.AsSlice()
			if six := ip.Is6(); !routed[six] {
				routed[six] = true
				everything := net.IPNet{IP: make(net.IP, ip.BitLen()/8), Mask: net.CIDRMask(0, ip.BitLen())}
				out.Routes = append(out.Routes, &types.Route{Dst: everything, GW: one.Gateway})
			}
		}
		out.IPs = append(out.IPs, one)
	}
	return out
}

func del(a *skel.CmdArgs) error {
	c, agent, ctx, cancel, err := ask(a.StdinData, short)
	if err != nil {
		return err
	}
	defer cancel()
	return failure(agent.Detach(ctx, keyOf(c, a)))
}

func check(a *skel.CmdArgs) error {
	c, agent, ctx, cancel, err := ask(a.StdinData, short)
	if err != nil {
		return err
	}
	defer cancel()
	if len(c.RawPrevResult) == 0 {
		return types.NewError(types.ErrInvalidNetworkConfig, "the configuration lacks prevResult, which CHECK is about", "")
	}
	return failure(agent.Check(ctx, keyOf(c, a)))
}

func gc(a *skel.CmdArgs) error {
	c, agent, ctx, cancel, err := ask(a.StdinData, short)
	if err != nil {
		return err
	}
	defer cancel()
	if c.ValidAttachments == nil { // nothing would be valid, and everything be taken away
		return types.NewError(types.ErrInvalidNetworkConfig, "the configuration lacks cni.dev/valid-attachments, without which nothing may be collected", "")
	}
	var valid []types.GCAttachment
	if err := json.Unmarshal(c.ValidAttachments, &valid); err != nil {
		return types.NewError(types.ErrDecodingFailure, fmt.Sprintf("read cni.dev/valid-attachments: %v", err), "")
	}
	q := attachment.Collection{Config: c.Name}
	for _, v := range valid {
		q.Valid = append(q.Valid, attachment.Key{Container: v.ContainerID, Ifname: v.IfName})
	}
	_, err = agent.Collect(ctx, q)
	return failure(err)
}

func status(a *skel.CmdArgs) error {
	_, agent, ctx, cancel, err := ask(a.StdinData, short)
	if err != nil {
		return err
	}
	defer cancel()
	r, err := agent.Ready(ctx)
	if err != nil {
		return types.NewError(types.ErrPluginNotAvailable, err.Error(), "")
	}
	switch r.State {
	case attachment.Ready:
		return nil
	case attachment.Limited:
		return types.NewError(types.ErrLimitedConnectivity, r.Message, "")
	default:
		return types.NewError(types.ErrPluginNotAvailable, r.Message, "")
	}
}

// notAsMade is this plugin's own code: CHECK found something.
const notAsMade = 100

// failure turns the agent's refusal into the protocol's.
func failure(err error) error {
	if err == nil {
		return nil
	}
	code := types.ErrInternal
	var refused *api.Error
	if errors.As(err, &refused) {
		switch refused.Code {
		case api.CodeNotFound, api.CodeTimeout, api.CodeUnavailable: // what is missing may come
			code = types.ErrTryAgainLater
		case api.CodeInvalid:
			code = types.ErrInvalidEnvironmentVariables
		case api.CodeConflict:
			code = notAsMade
		}
	}
	return types.NewError(code, err.Error(), "")
}
