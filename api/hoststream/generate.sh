#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Generates the Go of hoststream.proto with the plug-ins pinned in go.mod.
set -eu
plugins=$(mktemp -d)
trap 'rm -rf "$plugins"' EXIT
go build -o "$plugins/" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
protoc --plugin="$plugins/protoc-gen-go" --plugin="$plugins/protoc-gen-go-grpc" \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative balance.proto hoststream.proto health.proto hops.proto known.proto policy.proto ports.proto proxy.proto services.proto
