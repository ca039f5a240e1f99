// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-network/weft/api"
	"github.com/weft-network/weft/api/client"
	"github.com/weft-network/weft/store"
)

// disk writes what a disk is like from now on: "100ms", slowHang, or "" for whole.
func disk(t *testing.T, file, speed string) {
	t.Helper()
	if speed == "" {
		check(t, os.Remove(file))
		return
	}
	check(t, os.WriteFile(file+".new", []byte(speed), 0o600))
	check(t, os.Rename(file+".new", file))
}

// With disks that take 100 ms a sync, three controllers and three members give
// right answers only, the controller that leads goes on leading, and statuses
// come to be right.
func TestEtcdWithSlowDisks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	c := newChaosOn(t, file)
	c.prepare()
	disk(t, file, "100ms")
	began := time.Now()
	_, err := c.admins[0].Create(t.Context(), &api.Domain{Header: header(api.KindDomain, "slow", api.Ref{})})
	check(t, err)
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Fatalf("a write took %v: the disks are not slow, and the test shows nothing", took)
	}
	before := c.term()
	deadline := time.Now().Add(6 * time.Second)
	var writers sync.WaitGroup
	var all []*chaosWriter
	for n := range chaosWriters {
		w := &chaosWriter{chaos: c, number: n, random: rand.New(rand.NewPCG(1, uint64(n))), deadline: deadline}
		all = append(all, w)
		writers.Go(w.run)
	}
	writers.Wait()
	t.Logf("%d requests acknowledged, %d without a known outcome", c.acked.Load(), c.unknown.Load())
	if c.unknown.Load() > 0 {
		t.Errorf("%d requests had no answer that says whether they were done, although nothing broke", c.unknown.Load())
	}
	c.history.check(t)
	c.checkComposites(all)
	c.checkStatuses()
	if after := c.term(); after != before {
		t.Errorf("the term of the leading controller was %s and is %s", before, after)
	}
	disk(t, file, "")
	problems, err := store.Verify(t.Context(), c.etcd)
	check(t, err)
	for _, p := range problems {
		t.Errorf("raw keys: %s", p)
	}
}

// term names the election that the leading controller has won.
func (c *chaos) term() (key string) {
	c.t.Helper()
	c.await("a controller leads", func() bool {
		reply, err := c.etcd.Get(c.t.Context(), store.PrefixLeader, append(clientv3.WithFirstCreate(), clientv3.WithPrefix())...)
		if err == nil && len(reply.Kvs) > 0 {
			key = fmt.Sprintf("%s of %s, revision %d", reply.Kvs[0].Key, reply.Kvs[0].Value, reply.Kvs[0].CreateRevision)
		}
		return key != ""
	})
	return key
}

// health asks /healthz, which needs no credentials, how the controller is: the
// status in words, or the code of a refusal.
func health(t *testing.T, c *client.Client) string {
	t.Helper()
	insecure := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer insecure.CloseIdleConnections()
	reply, err := insecure.Get(c.Server() + "/healthz")
	check(t, err)
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return fmt.Sprint(reply.StatusCode)
	}
	var body struct {
		Status string `json:"status"`
	}
	check(t, json.NewDecoder(reply.Body).Decode(&body))
	return body.Status
}

// A controller whose own etcd's disk hangs says within a bound that it cannot
// tell, in reads, writes and /healthz; when the disk goes on so does it, and
// each write was done at most once.
func TestDiskThatHangs(t *testing.T) {
	file := filepath.Join(t.TempDir(), "disk")
	c := &chaos{t: t}
	t.Cleanup(c.end)
	c.disk = file
	c.addController(0)
	admin := c.admins[0]
	makeDomain(t, admin, "before")
	disk(t, file, slowHang)
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := admin.Create(ctx, &api.Domain{Header: header(api.KindDomain, "meanwhile", api.Ref{})})
	var e *api.Error
	if !errors.As(err, &e) || e.Code != api.CodeTimeout || !strings.Contains(e.Message, "not known") {
		t.Errorf("a write to a disk that hangs: %v", err)
	}
	t.Logf("a write was answered after %v: %v", time.Since(began), err)
	if status := health(t, admin); status != "not-writing" && status != "504" && status != "503" {
		t.Errorf("/healthz says %q while the disk hangs", status)
	}
	if ctx.Err() != nil {
		t.Error("a write to a disk that hangs was not answered within a minute")
	}
	disk(t, file, "")
	c.await("the controller writes again", func() bool {
		_, err := admin.Create(t.Context(), &api.Domain{Header: header(api.KindDomain, "after", api.Ref{})})
		return err == nil || errors.As(err, &e) && e.Code == api.CodeConflict
	})
	if status := health(t, admin); status != "ok" {
		t.Errorf("/healthz says %q when the disk is whole again", status)
	}
	list, err := admin.List(t.Context(), api.KindDomain, client.ListOptions{})
	check(t, err)
	seen := map[string]int{}
	for _, o := range list.Items {
		seen[o.Head().Meta.Name]++
	}
	if seen["before"] != 1 || seen["after"] != 1 || seen["meanwhile"] > 1 {
		t.Errorf("the domains are %v", seen)
	}
}
