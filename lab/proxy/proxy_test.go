// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-network/weft/lab/namespace"
	"github.com/weft-network/weft/lab/topology"
)

// A load-balancer of provider haproxy serves, from the command line to the answers to real clients
// on three hosts.
func TestProxy(t *testing.T) {
	s := start(t)
	s.certify(t, "shop", "shop.example")
	s.certify(t, "other", "other.example")
	argv := []string{"create", "load-balancer", "web", "-p", "red:shop", "--network", "web", "--provider", "haproxy",
		"--listener", "http/80:8080", "--listener", "https/443:8080", "--certificate", "shop", "--certificate", "other"}
	for _, a := range Virtual {
		argv = append(argv, "--ip", a.String())
	}
	for _, m := range []string{"m1", "m2", "m3"} {
		argv = append(argv, "--member", m)
	}
	s.weft(t, argv...)
	s.says(t, "load-balancer", "web", "Serving=true")
	t.Run("served", s.served)
	t.Run("said", s.said)
	t.Run("host dies", s.hostDies)
}

// said: a certificate that is none is named in the status of its listener, which serves with the
// other one, until it is there again.
func (s *system) said(t *testing.T) {
	s.write(t, "other", []byte("none"))
	s.says(t, "listener", "web:https-443", "Serving=true no-certificate", "\"other\"")
	s.certify(t, "other", "other.example")
	s.says(t, "listener", "web:https-443", "Serving=true serving")
}

// hostDies: the addresses answer again when the host that has them is gone.
func (s *system) hostDies(t *testing.T) {
	s.says(t, "load-balancer", "web", "Serving=true serving")
	host := 0
	for n := 1; n <= Hosts; n++ {
		rooms, err := filepath.Glob(filepath.Join(s.lab.Dir, topology.HostName(n), "run", "proxies", "rooms", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, room := range rooms {
			out, err := exec.Command("nsenter", "--net="+room, "ip", "-o", "address").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if strings.Contains(string(out), Virtual[0].String()+"/") {
				host = n
			}
		}
	}
	if host == 0 {
		t.Fatal("no host has the addresses")
	}
	client := fmt.Sprintf("c%d", host%Hosts+1)
	name := topology.HostName(host)
	if err := s.lab.Kill(name); err != nil {
		t.Fatal(err)
	}
	if out, err := namespace.Run(s.lab.Namespace("underlay"), "ip", "link", "set", name, "down"); err != nil {
		t.Fatal(err, out)
	}
	for _, a := range Virtual {
		took := eventually(t, func() error {
			_, err := s.run(client, "curl", "-sS", "--noproxy", "*", "-m", "0.3", at("http", a, "/"))
			return err
		})
		t.Logf("%v answers %s again %v after that was looked for", a, client, took)
		if took > 20*time.Second {
			t.Errorf("%v answers after %v only", a, took)
		}
	}
	if out, err := namespace.Run(s.lab.Namespace("underlay"), "ip", "link", "set", name, "up"); err != nil {
		t.Fatal(err, out)
	}
	if err := s.lab.StartAgent(t.Context(), host); err != nil {
		t.Fatal(err)
	}
	s.says(t, "load-balancer", "web", "Serving=true serving")
}

// certify writes a certificate with its key for a name where hosts look for it.
func (s *system) certify(t *testing.T, name, host string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	s.write(t, name, text)
}

// write makes a certificate's file have a content.
func (s *system) write(t *testing.T, name string, text []byte) {
	t.Helper()
	dir := filepath.Join(s.certificates, "red", "shop")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// says waits until an object's conditions have all of some words.
func (s *system) says(t *testing.T, kind, name string, words ...string) {
	t.Helper()
	eventually(t, func() error {
		out, err := s.conditions(t, kind, name)
		if err != nil {
			return err
		}
		for _, word := range words {
			if !strings.Contains(out, word) {
				return fmt.Errorf("%s %s says %s, not %q", kind, name, out, word)
			}
		}
		return nil
	})
}

// curl asks as curl does, and returns what it prints: the answer, then the status.
func (s *system) curl(client string, arguments ...string) (string, error) {
	out, err := s.run(client, append([]string{"curl", "-sSk", "--noproxy", "*", "-m", "5", "-w", "%{http_code}"}, arguments...)...)
	if err != nil {
		return out, fmt.Errorf("%s calls %v: %w: %s", client, arguments, err, out)
	}
	return out, nil
}

func at(scheme string, a netip.Addr, path string) string {
	return scheme + "://" + net.JoinHostPort(a.String(), map[string]string{"http": "80", "https": "443"}[scheme]) + path
}

// served: each client reaches each member in both families, by HTTP and HTTPS, and sees the
// certificate of the host that it names.
func (s *system) served(t *testing.T) {
	for _, client := range []string{"c1", "c2", "c3"} {
		for _, a := range Virtual {
			eventually(t, func() error { _, err := s.curl(client, at("http", a, "/")); return err })
			met := map[string]int{}
			for range 12 {
				out, err := s.curl(client, at("http", a, "/"))
				if err != nil || !strings.HasSuffix(out, "200") {
					t.Fatal(errors.Join(err, errors.New(out)))
				}
				met[out[:2]]++
			}
			if len(met) != 3 {
				t.Errorf("%s calls %v: served by %v, not by all three", client, a, met)
			}
			for host, want := range map[string]string{"shop.example": "shop.example", "other.example": "other.example", "unknown.example": "shop.example"} {
				out, err := s.curl(client, "-v", "--connect-to", "::"+net.JoinHostPort(a.String(), "443"), "https://"+host+"/")
				if err != nil || !strings.Contains(out, "subject: CN="+want) || !strings.HasSuffix(out, "200") {
					t.Errorf("%s calls https://%s at %v: %v\n%s", client, host, a, err, out)
				}
			}
		}
	}
}
