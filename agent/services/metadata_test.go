// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/vrouter"
)

// workload asks a handler as the workload behind an alias does.
func workload(t *testing.T, h http.Handler, alias uint32, body string, headers ...string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/latest", strings.NewReader(body))
	r.RemoteAddr = netip.AddrPortFrom(vrouter.AliasAddress(alias, false), 4000).String()
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header[name] = append(r.Header[name], value) // as it was sent, whatever its form
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, strings.TrimSpace(w.Body.String())
}

func metadata(t *testing.T, server http.HandlerFunc) *Metadata {
	t.Helper()
	up := httptest.NewServer(server)
	t.Cleanup(up.Close)
	at, err := url.Parse(up.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := New(nil, nil, nil, slog.New(slog.DiscardHandler))
	four := []netip.Addr{netip.MustParseAddr("10.0.0.5")}
	// Two workloads of different networks with the same address, and one without a machine.
	s.known.Store(knowledgeOf(Table{
		3: {Ifindex: 3, Alias: 5, Port: "port-a", Machine: "machine-a", Project: "red", Addresses: four},
		4: {Ifindex: 4, Alias: 6, Port: "port-b", Machine: "machine-b", Project: "blue", Addresses: four},
		5: {Ifindex: 5, Alias: 7, Port: "port-c", Project: "blue", Addresses: four},
	}))
	return NewMetadata(s, at, []byte("secret"))
}

// Whatever a workload says of itself, in whatever form, the server hears what
// its host says, of this workload and no other that has its address.
func TestWhoAsksIsToldByTheHost(t *testing.T) {
	ours := []string{HeaderPort, HeaderMachine, HeaderProject, HeaderAddress, HeaderSigned, HeaderSignature}
	m := metadata(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		text := ""
		for name, values := range r.Header {
			for _, own := range ours {
				if strings.EqualFold(strings.ReplaceAll(name, "_", "-"), own) {
					text += fmt.Sprintf("%s=%s;", own, strings.Join(values, ","))
				}
			}
		}
		for _, name := range []string{"Upgrade", "X-Forwarded-Host", "Forwarded"} {
			text += r.Header.Get(name)
		}
		for _, want := range strings.Split(r.Header.Get("X-Expect"), "|") {
			if !strings.Contains(text, want) {
				text += " without " + want
			}
		}
		fmt.Fprint(w, strings.Count(text, ";"), strings.Contains(text, "lie"), len(r.Trailer), strings.Contains(text, "without"))
	})
	lies := []string{"Connection: Upgrade, X-Instance-Id, X-Tenant-Id", "Upgrade: lie", "X-Forwarded-Host: lie", "Forwarded: for=lie"}
	for _, name := range ours {
		lies = append(lies, name+": lie", strings.ToUpper(name)+": lie", strings.ReplaceAll(name, "-", "_")+": lie", strings.ToLower(strings.Replace(name, "-", "_", 1))+": lie")
	}
	signed := func(port, machine, project string) string {
		return "X-Expect: " + strings.Join([]string{
			HeaderPort + "=" + port + ";", HeaderMachine + "=" + machine + ";", HeaderProject + "=" + project + ";", HeaderAddress + "=10.0.0.5;",
			HeaderSigned + "=" + Sign([]byte("secret"), machine) + ";", HeaderSignature + "=" + Sign([]byte("secret"), port+"\n"+machine+"\n"+project+"\n10.0.0.5") + ";",
		}, "|")
	}
	for alias, expect := range map[uint32]string{5: signed("port-a", "machine-a", "red"), 6: signed("port-b", "machine-b", "blue")} {
		if code, got := workload(t, m.handler(), alias, "", append(lies, expect)...); code != 200 || got != "6 false 0 false" {
			t.Errorf("alias %d: %d %s", alias, code, got)
		}
	}
	// No machine: nothing that could be taken for one, nor its signature.
	if code, got := workload(t, m.handler(), 7, "", lies...); code != 200 || got != "4 false 0 false" {
		t.Errorf("without a machine: %d %s", code, got)
	}
	if code, _ := workload(t, m.handler(), 8, ""); code != http.StatusForbidden {
		t.Errorf("nobody is answered with %d", code)
	}
}

// What goes wrong is said clearly and in time, and costs the others nothing.
func TestMetadataServerThatFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m := metadata(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil && r.Header.Get("Slow") != "" {
			<-ctx.Done()
		}
	})
	defer cancel()           // before the server is closed, which waits
	m.patience = time.Second // on a busy machine the others are in time
	h := m.handler()
	if code, text := workload(t, h, 5, "", "Slow: 1"); code != http.StatusGatewayTimeout || !strings.Contains(text, "in time") {
		t.Errorf("slow: %d %s", code, text)
	}
	if code, text := workload(t, h, 5, strings.Repeat("x", maxMetadataBody+1)); code != http.StatusRequestEntityTooLarge || !strings.Contains(text, "at most 1048576 bytes") {
		t.Errorf("long: %d %s", code, text)
	}
	for range maxMetadataEach {
		if !m.slots.Take("port-a") {
			t.Fatal("no slot")
		}
	}
	if code, _ := workload(t, h, 5, ""); code != http.StatusServiceUnavailable {
		t.Errorf("too many: %d", code)
	}
	if code, text := workload(t, h, 6, ""); code != http.StatusOK {
		t.Errorf("another, while one asks too much: %d %s", code, text)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.upstream.Host = l.Addr().String()
	l.Close()
	if code, text := workload(t, h, 6, ""); code != http.StatusBadGateway || !strings.Contains(text, "does not answer") {
		t.Errorf("down: %d %s", code, text)
	}
	if n := m.services.Counts().Crowded; n != 1 {
		t.Errorf("%d were counted as too many", n)
	}
}
