// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"net/netip"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
)

// The files are valid objects, and the tenants differ in nothing but names.
func TestFilesAreValidObjects(t *testing.T) {
	for _, text := range []string{YAML(Red), YAML(Blue), PolicyYAML(Red)} {
		for _, doc := range strings.Split(text, "\n---\n") {
			data, err := yaml.YAMLToJSON([]byte(doc))
			if err != nil {
				t.Fatalf("%v\n%s", err, doc)
			}
			o, err := api.Decode(data, true)
			if err != nil {
				t.Fatalf("%v\n%s", err, doc)
			}
			problems := append(api.ValidateHeader(o.Head()), o.Validate()...)
			if len(problems) > 0 {
				t.Errorf("%v\n%s", problems, doc)
			}
		}
	}
}

func TestTenantsHaveEqualAddresses(t *testing.T) {
	addresses := func(tenant string) map[netip.Addr]bool {
		set := map[netip.Addr]bool{}
		for _, w := range Of(tenant) {
			set[w.V4()], set[w.V6()] = true, true
		}
		return set
	}
	red, blue := addresses(Red), addresses(Blue)
	for a := range red {
		if !blue[a] {
			t.Errorf("%v is in red only", a)
		}
	}
	if len(blue) != len(red)+2 || !blue[netip.MustParseAddr("fd00:1::19")] {
		t.Errorf("blue has %d addresses and red %d; want exactly web-9's two more", len(blue), len(red))
	}
}

func TestEveryHostHasWorkloadsOfBothTenants(t *testing.T) {
	for _, tenant := range []string{Red, Blue} {
		hosts := map[int]bool{}
		for _, w := range Of(tenant) {
			hosts[w.Host] = true
		}
		if len(hosts) != Hosts {
			t.Errorf("%s is on hosts %v, want all %d", tenant, hosts, Hosts)
		}
	}
}
