// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"testing"
	"time"
)

// A server certificate that a clock made which was ahead is made anew when the
// clock is right again: nobody would take it before its time.
func TestCertificateFromTheFuture(t *testing.T) {
	right := time.Now()
	c := &clock{right}
	ca := open(t, t.TempDir(), c)
	s, err := ca.ServerCertificate([]string{"weft.example"})
	if err != nil {
		t.Fatal(err)
	}
	c.now = right.Add(serverLife) // and so it is due
	ahead, err := s.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	c.now = right
	after, err := s.Get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if after.Leaf.NotBefore.After(right) || after.Leaf.NotAfter.Before(right.Add(serverLife/2)) {
		t.Errorf("valid from %v to %v at %v (the one from the future: from %v)", after.Leaf.NotBefore, after.Leaf.NotAfter, right, ahead.Leaf.NotBefore)
	}
}
