// SPDX-License-Identifier: Apache-2.0

// Command openapi prints the OpenAPI description of the REST API, as it is
// generated from the Go types. The same input always gives the same bytes.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/weft-network/weft/server"
)

func main() {
	text, err := server.New(server.Options{}).OpenAPI()
	var out bytes.Buffer
	if err == nil {
		err = json.Indent(&out, text, "", " ")
	}
	if err == nil {
		out.WriteByte('\n')
		_, err = os.Stdout.Write(out.Bytes())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "openapi:", err)
		os.Exit(1)
	}
}
