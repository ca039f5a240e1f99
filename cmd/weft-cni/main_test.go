// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netns"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/attachment"
)

const asPlugin = "WEFT_TEST_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// agent answers as a host's agent would, and remembers what it was asked.
type agent struct {
	mu     sync.Mutex
	refuse *api.Error
	answer any
	asked  []string
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var body bytes.Buffer
	_, _ = body.ReadFrom(r.Body) // what is asked is compared
	a.asked = append(a.asked, r.URL.Path+" "+body.String())
	var out any = struct{}{}
	if a.answer != nil {
		out = a.answer
	}
	if a.refuse != nil {
		w.WriteHeader(http.StatusTeapot)
		out = a.refuse
	}
	_ = json.NewEncoder(w).Encode(out)
}

// serve returns the agent's socket.
func (a *agent) serve(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: a}
	go func() { _ = s.Serve(l) }() // ends with the test
	t.Cleanup(func() { s.Close() })
	return path
}

// elsewhere is the path of a network namespace that is not the test's.
func elsewhere(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("weft-cni-%d", os.Getpid())
	done := make(chan error)
	go func() { // on a thread that ends with it
		here, err := netns.Get()
		if err == nil {
			runtime.LockOSThread() // never unlocked: the thread is in the new namespace
			defer here.Close()
			_, err = netns.NewNamed(name)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netns.DeleteNamed(name) })
	return "/run/netns/" + name
}

// call runs the plugin as a runtime does.
func call(t *testing.T, verb, config, ns, arguments string) (string, *types.Error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self)
	c.Env = []string{asPlugin + "=1", "CNI_COMMAND=" + verb, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0", "CNI_PATH=/opt/cni/bin", "CNI_NETNS=" + ns, "CNI_ARGS=" + arguments}
	c.Stdin = strings.NewReader(config)
	out, err := c.Output()
	if err == nil {
		return string(out), nil
	}
	e := &types.Error{}
	if json.Unmarshal(out, e) != nil {
		t.Fatalf("%s: %v, and not the protocol's error: %s", verb, err, out)
	}
	return "", e
}

func conf(socket, version, more string) string {
	return fmt.Sprintf(`{"cniVersion":%q,"name":"weft","type":"weft-cni","socket":%q%s}`, version, socket, more)
}

const pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=p;K8S_POD_UID=0a1b2c3d-0000-4000-8000-000000000001"

var attached = attachment.Answer{
	Port: "p", Name: "d:p:n", Interface: "wf1", MAC: "02:00:00:00:00:01", MTU: 1450,
	Addresses: []attachment.Address{
		{Prefix: netip.MustParsePrefix("10.0.0.5/24"), Gateway: netip.MustParseAddr("10.0.0.1")},
		{Prefix: netip.MustParsePrefix("fd00::5/64"), Gateway: netip.MustParseAddr("fd00::1")},
		{Prefix: netip.MustParsePrefix("10.0.9.5/24"), Gateway: netip.MustParseAddr("10.0.9.1")},
		{Prefix: netip.MustParsePrefix("192.0.2.5/32")},
	},
}

// ADD asks for the port of the workload, and says what was made in the version asked for.
func TestAdd(t *testing.T) {
	a := &agent{answer: attached}
	socket, ns := a.serve(t), elsewhere(t)
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		out, refused := call(t, "ADD", conf(socket, version, `,"cluster":"k8s-2","network":"d:p:net","timeoutSeconds":7,"runtimeConfig":{"bandwidth":null,"portMappings":[]}`), ns, pod)
		if refused != nil {
			t.Fatal(refused)
		}
		raw, err := current.NewResult([]byte(strings.Replace(out, `"cniVersion": "`+version, `"cniVersion": "1.1.0`, 1)))
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		r := raw.(*current.Result)
		if !strings.Contains(out, `"cniVersion": "`+version) || len(r.Interfaces) != 2 || r.Interfaces[1].Name != "eth0" || r.Interfaces[1].Sandbox != ns || r.Interfaces[1].Mac != attached.MAC {
			t.Errorf("%s: %s", version, out)
		}
		var got []string
		for _, ip := range r.IPs {
			got = append(got, fmt.Sprint(ip.Address.String(), " ", ip.Gateway, " ", *ip.Interface))
		}
		for _, route := range r.Routes {
			got = append(got, route.Dst.String()+" "+route.GW.String())
		}
		want := "10.0.0.5/24 10.0.0.1 1, fd00::5/64 fd00::1 1, 10.0.9.5/24 10.0.9.1 1, 192.0.2.5/32 <nil> 1, 0.0.0.0/0 10.0.0.1, ::/0 fd00::1"
		if is := strings.Join(got, ", "); is != want {
			t.Errorf("%s: %s, want %s", version, is, want)
		}
		if version == "1.1.0" && r.Interfaces[1].Mtu != 1450 {
			t.Errorf("the MTU is not said: %s", out)
		}
	}
	port, err := attachment.Port("k8s-2", "0a1b2c3d-0000-4000-8000-000000000001", "eth0")
	want := fmt.Sprintf(`/v1/attach {"container":"c1","ifname":"eth0","config":"weft","port":%q,"network":"d:p:net","netns":%q,"timeoutSeconds":7}`, port, ns)
	if err != nil || a.asked[0] != want {
		t.Errorf("asked %s, want %s", a.asked[0], want)
	}
	a.asked = nil
	if _, refused := call(t, "ADD", conf(socket, "1.0.0", ""), ns, "WEFT_PORT=d:p:mine"); refused != nil || !strings.Contains(a.asked[0], `"port":"d:p:mine"`) || !strings.Contains(a.asked[0], `"timeoutSeconds":30`) {
		t.Errorf("a port by name: %v, asked %s", refused, a.asked)
	}
}

// Each refusal has its code and says what to do.
func TestCodes(t *testing.T) {
	a := &agent{}
	socket, ns := a.serve(t), elsewhere(t)
	away := filepath.Join(t.TempDir(), "none")
	refusal := func(code api.Code) *api.Error { return api.Errorf(code, "as the agent says") }
	plain := conf(socket, "1.1.0", "")
	prev := conf(socket, "1.1.0", `,"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0"}]}`)
	for name, c := range map[string]struct {
		verb, config, ns, arguments string
		refuse                      *api.Error
		code                        uint // 0: success
		words                       string
	}{
		"ADD not bound":           {"ADD", plain, ns, pod, refusal(api.CodeNotFound), 11, "as the agent says"},
		"ADD not programmed":      {"ADD", plain, ns, pod, refusal(api.CodeTimeout), 11, ""},
		"ADD no controller":       {"ADD", plain, ns, pod, refusal(api.CodeUnavailable), 11, ""},
		"ADD sub-port":            {"ADD", plain, ns, pod, refusal(api.CodeConflict), 100, ""},
		"ADD invalid":             {"ADD", plain, ns, pod, refusal(api.CodeInvalid), 4, ""},
		"ADD internal":            {"ADD", plain, ns, pod, refusal(api.CodeInternal), 999, ""},
		"ADD agent away":          {"ADD", conf(away, "1.1.0", ""), ns, pod, nil, 11, "see that weft-agent runs"},
		"ADD no namespace":        {"ADD", plain, "/run/netns/weft-none", pod, nil, 8, "find the container's network namespace"},
		"ADD host's namespace":    {"ADD", plain, "/proc/self/ns/net", pod, nil, 8, "is the host's own"},
		"ADD which port":          {"ADD", plain, ns, "K8S_POD_NAME=p", nil, 4, "K8S_POD_UID"},
		"ADD odd cluster":         {"ADD", conf(socket, "1.1.0", `,"cluster":"a/b"`), ns, pod, nil, 4, "slash"},
		"ADD bandwidth":           {"ADD", conf(socket, "1.1.0", `,"runtimeConfig":{"bandwidth":{"ingressRate":1000}}`), ns, pod, nil, 2, "qos-policy"},
		"ADD host port":           {"ADD", conf(socket, "1.1.0", `,"runtimeConfig":{"portMappings":[{"hostPort":80}]}`), ns, pod, nil, 2, "portmap"},
		"ADD ipam":                {"ADD", conf(socket, "1.1.0", `,"ipam":{"type":"host-local"}`), ns, pod, nil, 7, "take it out"},
		"ADD behind another":      {"ADD", prev, ns, pod, nil, 7, "first in the list"},
		"ADD odd time":            {"ADD", conf(socket, "1.1.0", `,"timeoutSeconds":-1`), ns, pod, nil, 7, "at least 1"},
		"ADD no configuration":    {"ADD", `{"cniVersion":"1.1.0","name":"weft","type":"weft-cni","socket":7}`, ns, pod, nil, 6, "read the configuration"},
		"ADD old version":         {"ADD", conf(socket, "0.2.0", ""), ns, pod, nil, 1, ""},
		"DEL":                     {"DEL", plain, "", "", nil, 0, ""},
		"DEL namespace gone":      {"DEL", plain, "/run/netns/weft-none", pod, nil, 0, ""},
		"DEL agent away":          {"DEL", conf(away, "1.1.0", ""), "", pod, nil, 11, ""},
		"CHECK":                   {"CHECK", prev, ns, pod, nil, 0, ""},
		"CHECK found":             {"CHECK", prev, ns, pod, refusal(api.CodeConflict), 100, "as the agent says"},
		"CHECK not attached":      {"CHECK", prev, ns, pod, refusal(api.CodeNotFound), 11, ""},
		"CHECK without result":    {"CHECK", plain, ns, pod, nil, 7, "prevResult"},
		"GC":                      {"GC", conf(socket, "1.1.0", `,"cni.dev/valid-attachments":[{"containerID":"c","ifname":"eth0"}]`), "", "", nil, 0, ""},
		"GC none valid":           {"GC", conf(socket, "1.1.0", `,"cni.dev/valid-attachments":null`), "", "", nil, 0, ""},
		"GC without list":         {"GC", plain, "", "", nil, 7, "valid-attachments"},
		"GC agent away":           {"GC", conf(away, "1.1.0", `,"cni.dev/valid-attachments":[]`), "", "", nil, 11, ""},
		"STATUS agent away":       {"STATUS", conf(away, "1.1.0", ""), "", "", nil, 50, ""},
		"STATUS agent in trouble": {"STATUS", plain, "", "", refusal(api.CodeInternal), 50, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a.refuse = c.refuse
			_, refused := call(t, c.verb, c.config, c.ns, c.arguments)
			switch {
			case c.code == 0 && refused != nil:
				t.Errorf("refused: %d %v", refused.Code, refused)
			case c.code != 0 && (refused == nil || refused.Code != c.code || !strings.Contains(refused.Error(), c.words)):
				t.Errorf("got %+v, want code %d with %q", refused, c.code, c.words)
			}
		})
	}
}

// STATUS is what the agent says, and what is valid reaches it.
func TestStatusAndCollection(t *testing.T) {
	a := &agent{}
	socket := a.serve(t)
	for state, want := range map[attachment.State]uint{attachment.Ready: 0, attachment.Unavailable: 50, attachment.Limited: 51} {
		a.answer = attachment.Readiness{State: state, Message: "why"}
		_, refused := call(t, "STATUS", conf(socket, "1.1.0", ""), "", "")
		if (refused == nil) != (want == 0) || refused != nil && (refused.Code != want || !strings.Contains(refused.Error(), "why")) {
			t.Errorf("%s: %+v", state, refused)
		}
	}
	a.answer, a.asked = nil, nil
	if _, refused := call(t, "GC", conf(socket, "1.1.0", `,"cni.dev/valid-attachments":[{"containerID":"c","ifname":"net1"}]`), "", ""); refused != nil {
		t.Fatal(refused)
	}
	if want := `/v1/collect {"config":"weft","valid":[{"container":"c","ifname":"net1"}]}`; a.asked[0] != want {
		t.Errorf("asked %s, want %s", a.asked[0], want)
	}
	if out, refused := call(t, "VERSION", `{"cniVersion":"1.1.0"}`, "", ""); refused != nil || !strings.Contains(out, `"1.1.0"`) || strings.Contains(out, `"0.2.0"`) {
		t.Errorf("VERSION: %s, %v", out, refused)
	}
}
