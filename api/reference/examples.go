// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"embed"
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/weft-network/weft/api"
)

//go:embed examples/*.yaml
var files embed.FS

// ExampleText is the example of a kind as it stands in its page. All examples
// together are one world, made in the order of the kinds.
func ExampleText(kind api.Kind) (string, error) {
	data, err := files.ReadFile("examples/" + string(kind) + ".yaml")
	return string(data), err
}

// Examples returns the objects of a kind's example.
func Examples(kind api.Kind) ([]api.Object, error) {
	text, err := ExampleText(kind)
	if err != nil {
		return nil, err
	}
	var objects []api.Object
	for _, part := range strings.Split(text, "\n---\n") {
		data, err := yaml.YAMLToJSONStrict([]byte(part))
		if err != nil {
			return nil, fmt.Errorf("example of %s: %w", kind, err)
		}
		o, err := api.Decode(data, true)
		if err != nil {
			return nil, fmt.Errorf("example of %s: %w", kind, err)
		}
		objects = append(objects, o)
	}
	return objects, nil
}
