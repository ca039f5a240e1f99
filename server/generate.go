// SPDX-License-Identifier: Apache-2.0

package server

//go:generate sh -c "go run ./openapi > ../doc/openapi.json.new && mv ../doc/openapi.json.new ../doc/openapi.json"
