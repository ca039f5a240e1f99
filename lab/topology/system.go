// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/lab/namespace"
)

// Ports of the controller inside the underlay.
const (
	underlayAPIPort    = 7443
	underlayStreamPort = 7444
)

// Controller is the name of the controller's process and namespace.
const Controller = "controller"

// commandTimeout bounds one call of a program of ours; plug has the longest
// bound of its own, 30 seconds.
const commandTimeout = 45 * time.Second

// StartController starts the controller and waits until it serves. Started
// again, it finds its data and its port on loopback.
func (l *Lab) StartController(ctx context.Context) error {
	// The socket belongs to the root namespace because it is opened here; the
	// process that inherits it is in the controller's namespace.
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(l.APIPort)))
	if err != nil {
		return fmt.Errorf("listen for the controller's API in the root namespace: %w", err)
	}
	defer listener.Close()
	if l.APIPort == 0 {
		l.APIPort = listener.Addr().(*net.TCPAddr).Port
		if err := l.save(); err != nil {
			return err
		}
	}
	inherited, err := listener.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("pass the API's socket on: %w", err)
	}
	defer inherited.Close()
	v4, v6 := ControllerAddresses()
	argv := []string{
		l.program("weft-controller"),
		"--data-dir", filepath.Join(l.Dir, Controller),
		"--api-listen", "fd:3",
		"--api-listen", at(v4, underlayAPIPort), "--api-listen", at(v6, underlayAPIPort),
		"--stream-listen", at(v4, underlayStreamPort), "--stream-listen", at(v6, underlayStreamPort),
		"--stream-advertise", at(l.controllerAddress(), underlayStreamPort),
		"--advertise", v4.String(), "--advertise", v6.String(),
		"--advertise", "127.0.0.1", "--advertise", "localhost",
	}
	argv = append(argv, l.ControllerArguments...)
	if err := l.start(spec{name: Controller, namespace: l.Namespace(Controller), argv: argv, files: []*os.File{inherited}}); err != nil {
		return err
	}
	if err := l.waitReady(ctx, Controller); err != nil {
		return err
	}
	return l.writeConfig()
}

// controllerAddress is where the agents look for the controller: in a purely
// IPv6 underlay nothing uses IPv4.
func (l *Lab) controllerAddress() netip.Addr {
	v4, v6 := ControllerAddresses()
	if l.Tunnel == IPv6 {
		return v6
	}
	return v4
}

func at(a netip.Addr, port uint16) string { return netip.AddrPortFrom(a, port).String() }

func (l *Lab) program(name string) string { return filepath.Join(l.Bin, name) }

// ConfigFile is the administrators' client configuration, for WEFT_CONFIG.
func (l *Lab) ConfigFile() string { return filepath.Join(l.Dir, "admin.yaml") }

// writeConfig makes the administrators' configuration that the controller wrote
// speak of the API's address in the root namespace.
func (l *Lab) writeConfig() error {
	made := filepath.Join(l.Dir, Controller, "admin.yaml")
	data, err := os.ReadFile(made)
	if err != nil {
		return fmt.Errorf("read the configuration the controller made: %w", err)
	}
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "server:") {
			lines[i] = "server: " + l.APIAddress()
		}
	}
	if err := os.WriteFile(l.ConfigFile(), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		return fmt.Errorf("write client configuration: %w", err)
	}
	return nil
}

// APIAddress is the API's address for people in the root namespace.
func (l *Lab) APIAddress() string { return fmt.Sprintf("https://127.0.0.1:%d", l.APIPort) }

// Client returns an administrator's client of the API. The caller closes it.
func (l *Lab) Client() (*client.Client, error) {
	data, err := os.ReadFile(l.ConfigFile())
	if err != nil {
		return nil, fmt.Errorf("read client configuration: %w", err)
	}
	config, err := client.ParseConfig(data)
	if err != nil {
		return nil, err
	}
	return client.New(config)
}

// Dir of a host, with its agent's state, socket and bpffs below.
func (l *Lab) hostDir(n int, part string) string {
	return filepath.Join(l.Dir, HostName(n), part)
}

// BPFDir is where the n-th host's agent has its bpffs.
func (l *Lab) BPFDir(n int) string { return l.hostDir(n, "bpf") }

// JoinToken asks the API for a token with which hosts join.
func (l *Lab) JoinToken(ctx context.Context) error {
	c, err := l.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	token, err := c.CreateToken(ctx, api.TokenRequest{Name: "lab-hosts", Role: api.RoleJoin})
	if err != nil {
		return fmt.Errorf("get a token for the hosts: %w\n%s", err, l.Tail(Controller))
	}
	if err := os.WriteFile(l.tokenFile(), []byte(token.Secret), 0o600); err != nil {
		return fmt.Errorf("save the hosts' token: %w", err)
	}
	return nil
}

func (l *Lab) tokenFile() string { return filepath.Join(l.Dir, "join.token") }

// StartAgent starts the n-th host's agent and waits until it has joined and is
// in sync.
func (l *Lab) StartAgent(ctx context.Context, n int) error {
	if err := l.LaunchAgent(n); err != nil {
		return err
	}
	return l.AgentReady(ctx, n)
}

// AgentReady waits until the n-th host's agent has joined and is in sync.
func (l *Lab) AgentReady(ctx context.Context, n int) error {
	return l.waitReady(ctx, HostName(n))
}

// LaunchAgent starts the n-th host's agent and does not wait.
func (l *Lab) LaunchAgent(n int) error {
	name := HostName(n)
	for _, part := range []string{"state", "run", "bpf"} {
		if err := os.MkdirAll(l.hostDir(n, part), 0o700); err != nil {
			return fmt.Errorf("set up host %s: %w", name, err)
		}
	}
	build := l.agentBuild(n)
	argv := []string{
		build.Program, "run", "--name", name,
		"--controller", "https://" + at(l.controllerAddress(), underlayAPIPort),
		"--token-file", l.tokenFile(),
		"--state-dir", l.hostDir(n, "state"), "--run-dir", l.hostDir(n, "run"), "--bpf-dir", l.BPFDir(n),
	}
	for _, a := range l.tunnelAddresses(n) {
		argv = append(argv, "--tunnel-address", a.String())
	}
	argv = append(argv, build.Arguments...)
	return l.start(spec{name: name, namespace: l.Namespace(name), argv: argv})
}

// StartAgents starts the agents of all hosts at once.
func (l *Lab) StartAgents(ctx context.Context) error {
	failed := make(chan error, l.Hosts)
	for n := 1; n <= l.Hosts; n++ {
		go func() { failed <- l.StartAgent(ctx, n) }()
	}
	var first error
	for range l.Hosts {
		if err := <-failed; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Up does all of it: underlay, controller, agents.
func (l *Lab) Up(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		func(context.Context) error { return l.WireUnderlay() },
		l.StartController, l.JoinToken, l.StartAgents,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// AddWorkload makes the namespace of a workload.
func (l *Lab) AddWorkload(name string) error { return namespace.Create(l.Namespace(name)) }

// Plug attaches a workload to a port on the n-th host, as eth0.
func (l *Lab) Plug(ctx context.Context, n int, port, workload string) error {
	_, err := l.PlugWith(ctx, n, port, workload)
	return err
}

// PlugWith is Plug with further flags, and returns what weft-agent says.
func (l *Lab) PlugWith(ctx context.Context, n int, port, workload string, flags ...string) (string, error) {
	out, err := l.agent(ctx, n, append([]string{"plug", "--run-dir", l.hostDir(n, "run"), "--port", port,
		"--netns", namespace.Path(l.Namespace(workload))}, flags...)...)
	if err != nil {
		return out, fmt.Errorf("plug %s into port %s on %s: %w\n%s", workload, port, HostName(n), err, l.Tail(HostName(n)))
	}
	return out, nil
}

// Unplug detaches what is plugged into a port on the n-th host.
func (l *Lab) Unplug(ctx context.Context, n int, port string) error {
	_, err := l.agent(ctx, n, "unplug", "--run-dir", l.hostDir(n, "run"), "--port", port)
	if err != nil {
		return fmt.Errorf("unplug port %s on %s: %w\n%s", port, HostName(n), err, l.Tail(HostName(n)))
	}
	return nil
}

// Uninstall has the n-th host's agent, which must have ended, take away all it
// made on the host.
func (l *Lab) Uninstall(ctx context.Context, n int) error {
	_, err := l.agent(ctx, n, "uninstall", "--state-dir", l.hostDir(n, "state"),
		"--run-dir", l.hostDir(n, "run"), "--bpf-dir", l.BPFDir(n))
	if err != nil {
		return fmt.Errorf("uninstall the agent of %s: %w", HostName(n), err)
	}
	return nil
}

func (l *Lab) agent(ctx context.Context, n int, args ...string) (string, error) {
	return l.run(ctx, l.Namespace(HostName(n)), l.program("weft-agent"), args...)
}

// Weft runs the CLI in the root namespace, as a person would.
func (l *Lab) Weft(ctx context.Context, args ...string) (string, error) {
	return l.run(ctx, "", l.program("weft"), args...)
}

func (l *Lab) run(ctx context.Context, ns, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = l.Dir
	cmd.Env = append(os.Environ(), "WEFT_CONFIG="+l.ConfigFile())
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := namespace.Start(ns, cmd); err != nil {
		return "", fmt.Errorf("start %s: %w", program, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(program), strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}
