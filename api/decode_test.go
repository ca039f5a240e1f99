// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"strings"
	"testing"
)

// What a sender may have meant otherwise is refused, and the error tells where.
func TestDecodeIsStrict(t *testing.T) {
	deep := strings.Repeat(`{"a":`, MaxDepth+1) + "1" + strings.Repeat("}", MaxDepth+1)
	for _, c := range []struct{ text, field, reason string }{
		{`{"kind":"network","meta":{"nam":"x"}}`, "meta.nam", "unknown field"},
		{`{"kind":"network","meta":{"Name":"x"}}`, "meta.Name", "unknown field"},
		{`{"kind":"network","Meta":{}}`, "Meta", "unknown field"},
		{`{"kind":"network","meta":{"name":"x","name":"y"}}`, "meta.name", "given twice"},
		{`{"kind":"network","meta":{"labels":{"a":"x","a":"x"}}}`, "meta.labels.a", "given twice"},
		{`{"kind":"network","meta":{"name":"` + "\xff" + `"}}`, "", "not UTF-8"},
		{`{"kind":"network","meta":{"name":7}}`, "meta.name", "is not a text"},
		{`{"kind":"network","meta":[]}`, "meta", "want an object"},
		{`{"kind":"network","meta":{"labels":{"a":1}}}`, "meta.labels.a", "is not a text"},
		{`{"kind":"network","meta":{"parent":7}}`, "meta.parent", "read reference"},
		{`{"kind":"network","meta":{"parent":{"nome":"x"}}}`, "meta.parent", `unknown field "nome"; there are name, uuid`},
		{`{"kind":"network","spec":{"vni":1.5}}`, "spec.vni", "is not a whole number"},
		{`{"kind":"network","spec":{"vni":99999999999}}`, "spec.vni", "is not a whole number of 32 bits"},
		{`{"kind":"network","spec":{"mtu":"x"}}`, "spec.mtu", "is not a whole number"},
		{`{"kind":"subnet","spec":{"cidr":"10.0.0.0/33"}}`, "spec.cidr", "prefix length out of range"},
		{`{"kind":"subnet","spec":{"pools":[{}]}}`, "spec.pools[0]", ""},
		{`{"kind":"subnet","spec":{"pools":{}}}`, "spec.pools", "want a list"},
		{`{"kind":"foreign-document","spec":{"body":{"a":{"b":1,"b":2}}}}`, "spec.body.a.b", "given twice"},
		{`{"kind":"foreign-document","spec":{"body":` + deep + `}}`, "", "nested deeper"},
	} {
		_, err := Decode([]byte(c.text), true)
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeInvalid || !strings.Contains(e.Error(), c.reason) || c.reason != "nested deeper" && e.Field != c.field {
			t.Errorf("%.80s: got %v, field %q; want field %q, %q", c.text, err, e.Field, c.field, c.reason)
		}
	}
	var fields map[string]any
	if err := DecodeStrictly([]byte("null"), &fields); err == nil || !strings.Contains(err.Error(), "want an object") {
		t.Errorf("null in place of an object: %v", err)
	}
	for _, text := range []string{
		`{"kind":"network","meta":{"name":"x","parent":"a:b","labels":null,"createdAt":"2026-01-01T00:00:00Z"},"spec":{"mtu":1500},"status":{}}`,
		` { "kind" : "subnet" , "meta" : { "parent" : { "name" : "x" } } , "spec" : { "pools" : [ "10.0.0.1-10.0.0.9" ] , "cidr" : null } } `,
		`{"kind":"foreign-document","spec":{"body":{"a":[{"A":1,"a":[]},null]}}}`,
	} {
		if _, err := Decode([]byte(text), true); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
