# SPDX-License-Identifier: Apache-2.0
#
# make demo       three hosts, two tenants, real packets; stays up until make demo-down
# make test       everything that must hold; needs root, sets up what it needs
# make test-long  the tests that break etcd, controllers and hosts at random, for longer
# make test-fuzz  every Fuzz function one after another, FUZZTIME=20s each
# make test-kernel the packet path and the agent on Debian 12's own kernel (6.1), in a QEMU guest
# make test-kernel-loads  of it, that the packet path loads there, and packets through two hosts
# make test-mutation which changes of the packet path's C no test notices: MUTANTS=200 SEED=1 of them, or all
# make bench      figures, with their baselines in the same run
# make generate   rebuilds the committed generated files (eBPF objects, stream, API description, CLI reference)

SHELL := /bin/bash
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO_BUILD := CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)'

# Debian packages by what they are for; each target installs what it lacks.
RUN_PACKAGES := iproute2 iputils-ping iputils-tracepath traceroute isc-dhcp-client udhcpc bind9-dnsutils keepalived haproxy
GENERATE_PACKAGES := clang-14 llvm-14 libbpf-dev protobuf-compiler
TEST_PACKAGES := tcpdump tshark frr wrk curl
BENCH_PACKAGES := iperf3 ethtool nftables
GUEST_PACKAGES := qemu-system-x86 busybox-static ipxe-qemu dash

.PHONY: build demo demo-down test test-long test-fuzz test-kernel test-kernel-loads test-mutation bench bench-try generate generate-check run-packages generate-packages guest-packages test-packages bench-packages clean

build:
	@echo "build: weft, weft-controller, weft-agent, weft-cni and the lab"
	@mkdir -p bin
	@$(GO_BUILD) -o bin/ ./cmd/... ./lab/cmd/...
	@CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.build=$(VERSION)' -o bin/ ./cmd/weft-cni

demo: run-packages build
	@bin/weft-demo up --down-command 'make demo-down'

demo-down: build
	@bin/weft-demo down

test: run-packages generate-packages guest-packages test-packages
	go vet ./...
	go test -timeout 40m ./...

# How long test-long breaks things: make test-long CHAOS=1h
CHAOS ?= 10m
test-long: run-packages generate-packages
	go test -timeout 24h -v -run 'TestChaos$$' ./store -chaos $(CHAOS)
	go test -timeout 24h -v -run 'TestControllerChaos$$' ./cmd/weft-controller -chaos $(CHAOS)
	go test -timeout 1h -v -run 'TestPlugStorm$$' ./agent/plug -storm-ports 1000
	go test -timeout 3h -v -run 'TestLossless$$' ./lab/lossless -times 10 -away 2m
	go test -timeout 3h -v -run 'TestPolicy$$' ./lab/policy -rounds 40
	$(MAKE) test-fuzz FUZZTIME=1m

# Go fuzzes one function at a time. What one finds lies in its package's testdata/fuzz, and make test repeats it.
FUZZTIME ?= 20s
test-fuzz: run-packages
	@grep -rE --include='*_test.go' '^func Fuzz[A-Za-z0-9]*\(' . | sed -E 's|/[^/]*:func (Fuzz[A-Za-z0-9]*).*| \1|' | sort | while read -r package name; do \
		echo "$$package $$name"; go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null || exit 1; done

# The oldest kernel we support, emulated: slow, so by hand, and with a tenth of the random conversations.
test-kernel: run-packages guest-packages
	CGO_ENABLED=0 go test -c -o bin/guest/ ./vrouter ./cmd/weft-agent
	go run ./lab/cmd/weft-guest -timeout 1h 'bin/guest/vrouter.test -cases 100' bin/guest/weft-agent.test

# What is quick there, for CI: all programs are loaded, a few frames traced, and packets of real
# workloads go through two hosts with an agent each.
test-kernel-loads: run-packages guest-packages
	CGO_ENABLED=0 go test -c -o bin/guest/ ./vrouter ./cmd/weft-agent
	go run ./lab/cmd/weft-guest -run 'TestCapacity$$|TestTraceTellsTheWay$$|TestTwoHosts$$/IPv4' bin/guest/vrouter.test bin/guest/weft-agent.test

# 0 mutants are all: 5 to 15 seconds of processor time for one that a glance kills, minutes for one that survives.
# ONLY=spoof.h,route.h tries those files alone; 0 for SEED is a new one each time.
MUTANTS ?= 0
SEED ?= 0
ONLY ?=
test-mutation: run-packages generate-packages
	go run ./lab/cmd/weft-mutate -sample $(MUTANTS) -seed $(SEED) -only '$(ONLY)'

bench: run-packages bench-packages generate-packages build
	go test -run '^$$' -bench . -benchtime 1s ./vrouter/... ./control/...
	bin/weft-load
	bin/weft-bench
	bin/weft-bench --rounds 5 latency
	bin/weft-bench --rounds 5 --one-core latency
	bin/weft-bench --rounds 5 packets
	bin/weft-bench --rounds 9 --seconds 5 plug
	bin/weft-bench --rounds 5 --exchanges 2000 --one-core policy
	bin/weft-bench --rounds 10 --sources . lossless
	bin/weft-agents-bench --agents 200 --networks 200 --ports 50
	bin/weft-agents-bench --agents 100 --networks 100 --ports 50 --policies 1000 --rate 20 --seconds 10

# One short round, to see that the benchmark still runs; its figures say nothing.
bench-try: run-packages bench-packages build
	bin/weft-bench --seconds 1 --rounds 1 --run try
	bin/weft-bench --rounds 1 --run try --exchanges 200 latency
	bin/weft-bench --seconds 1 --rounds 1 --run try packets
	bin/weft-bench --seconds 1 --rounds 1 --run try --ports 10 plug
	bin/weft-bench --rounds 1 --run try --exchanges 200 --rules 500 --changes 4 policy
	bin/weft-agents-bench --agents 10 --networks 10 --ports 10 --policies 20 --rate 5 --seconds 2 --policy-rate 5
	bin/weft-bench --rounds 1 --run try --rates 10000 --away 1s lossless

generate: generate-packages
	go generate ./...

# Generated files are current when generating them again changes nothing and
# makes nothing that is not committed.
generate-check: generate
	@git diff --exit-code --stat && test -z "$$(git status --porcelain -- doc vrouter api)" || { git status --short -- doc vrouter api; echo "generate-check: the files above are out of date; run make generate and commit"; exit 1; }

run-packages:
	@scripts/debian-packages $(RUN_PACKAGES)
generate-packages:
	@scripts/debian-packages $(GENERATE_PACKAGES)
guest-packages:
	@scripts/debian-packages $(GUEST_PACKAGES)
test-packages:
	@scripts/debian-packages $(TEST_PACKAGES)
bench-packages:
	@scripts/debian-packages $(BENCH_PACKAGES)

clean:
	rm -rf bin
