// SPDX-License-Identifier: Apache-2.0

package external

import (
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParseMember: a member that is taken has a directory of its own below the one that
// is given, and stands for one member in etcd's list of them, which is cut at commas.
func FuzzParseMember(f *testing.F) {
	for _, s := range []string{
		"a=https://10.0.0.1:2380", "b=https://[fd00::1]:2380", "c=http://localhost:1", "d=http://10.0.0.1:1", "e=https://:2380", "..=https://h:1", "f=https://h:1/x",
		"g=https://h:1?x,h=https://i:1", "i=https://u:p@h:1", "j=https://h,i:1", "k=https://h:1#x", "l=", "=",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMember(text)
		if err != nil {
			return
		}
		if dir := MemberDir("/d", m); filepath.Dir(dir) != "/d" {
			t.Errorf("%q has directory %s", text, dir)
		}
		u, err := url.Parse(m.PeerURL)
		if err != nil || u.Hostname() == "" || m.Name+"="+m.PeerURL != text || strings.ContainsAny(m.PeerURL, ",?#@") {
			t.Errorf("%q is taken as %+v (%v)", text, m, err)
		}
	})
}
