// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/hex"
	"reflect"
	"testing"

	"sigs.k8s.io/yaml"
)

// FuzzContexts: whatever the file of a client holds, it is read or refused,
// and what is listed can be used.
func FuzzContexts(f *testing.F) {
	f.Add([]byte("server: https://a:1\ntoken: weft1.a.b.c\n"))
	f.Add([]byte("current: a\ncontexts:\n  a: {server: 'https://a:1'}\n  b: {server: 'http://b/x', ca: none}\n"))
	f.Add([]byte("contexts: null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseContexts(data)
		if err != nil {
			return
		}
		for _, name := range c.Names() {
			if name == "" { // means the one in use
				continue
			}
			config, err := c.Use(name)
			if err != nil {
				t.Errorf("context %q is listed and cannot be used: %v", name, err)
			}
			if base, err := config.baseURL(); err == nil && (base.Scheme != "https" || base.Hostname() == "") {
				t.Errorf("%q is taken as address of a server", config.Server)
			}
			_, _ = config.tlsConfig("host") // refuses or not, and comes to an end
		}
	})
}

// FuzzConfig: a configuration that is read is written so that it is read as the same.
func FuzzConfig(f *testing.F) {
	f.Add([]byte("server: https://a:1\ntoken: weft1.a.b.c\nlogin: {issuer: 'https://i'}\n"))
	f.Add([]byte(`{"server":"https://a:1","ca":"x","certificate":"y","key":"z","tokenFile":"t","project":"d:p"}`))
	f.Add([]byte("server: [a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		written, err := yaml.Marshal(c)
		if err != nil {
			t.Fatalf("write what was read: %v", err)
		}
		if again, err := ParseConfig(written); err != nil || !reflect.DeepEqual(again, c) {
			t.Errorf("%+v is written as %q, and that is %+v (%v)", c, written, again, err)
		}
	})
}

// FuzzTokenPin: a pin is the hash of a certificate, or none.
func FuzzTokenPin(f *testing.F) {
	f.Add("weft1.a.b.c")
	f.Add("weft1.a.b.0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdeg")
	f.Add(" weft1.a.b.0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF\n")
	f.Fuzz(func(t *testing.T, token string) {
		pin := TokenPin(token)
		if pin != "" && len(pin) != hex.EncodedLen(32) {
			t.Errorf("the pin of %q is %q", token, pin)
		}
	})
}
