// SPDX-License-Identifier: Apache-2.0

// Package vrouter is the packet path of a host: eBPF programs, the tables they
// read, and what is needed to load, attach, replace and remove them.
//
// What happens to a frame is defined in doc/packet-path.md. The programs in
// bpf/ implement it; [Oracle] implements it again in plain Go, and tests
// compare the two. The generated files come from `go generate`.
//
// A caller does, in this order: [Load], fill the tables, [Datapath.Activate],
// attach interfaces. Everything is pinned below one directory on a bpffs, so
// that traffic flows while no process runs.
package vrouter

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type reason -type verdict -type stage -type reason_row -type family -type mac -type address -type port_flag -type port_value -type sub_port_key -type port_address_key -type port_prefix4_key -type port_prefix6_key -type port_prefix_flag -type port_prefix_value -type route4_key -type route6_key -type route_flag -type route_value -type host_route_key -type connection_key -type connection_value -type connection_state -type fragment_key -type fragment_value -type tick -type counter_slot -type fragment_bound -type generation_bound -type next_hop_kind -type next_hop_value -type group_field -type group_bound -type group_member -type group_value -type member_mac -type listener_flag -type listener_key -type listener_value -type choice_bound -type choice_key -type choice_value -type choice_member_key -type choice_member_value -type pool_member_key -type pool_member_value -type mapping_value -type float_bound -type float_key -type float_value -type affinity_key -type affinity_value -type encapsulation -type tunnel_address_key -type vni_flag -type vni_value -type tunnel_source_key -type config_value -type drop_key -type drop_value -type counter_value -type mac_key -type learned_mac_value -type mac_count_key -type mac_count_of -type learning_bound -type flood_bound -type flood_value -type receiver_key -type stage_slot -type request_record -type service_key -type host_flow_key -type host_flow_value -type policy_layer -type policy_direction -type policy_action -type policy_verdict_flag -type policy_verdict -type port_policy_flag -type port_policy -type ruleset_flag -type ruleset_value -type remote_class_key -type remote_range4_key -type remote_range6_key -type remote_class_value -type service_page -type service_class_key -type service_class_value -type service_page_key -type service_page_value -type verdict_key -type place_key -type place_owner -type place_count -type event_flag -type event_kind -type event_direction -type event_control_value -type policy_log -type event_record -type event_count_value -type limit_bound -type limit_flag -type limit_key -type limit_value -type limit_state -type mirror_bound -type mirror_match_flag -type mirror_match -type mirror_key -type mirror_value -type mirror_encapsulation -type mirror_target_value -type mirror_count layout bpf/layout.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type slot -type underlay_slot stub bpf/stub.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types port bpf/from_port.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types tunnel bpf/from_tunnel.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types host bpf/from_host.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types fabric bpf/from_fabric.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types traceFabric bpf/from_fabric.c -- -O2 -g -Wall -Werror -DWEFT_TRACE
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type trace_arguments -type trace_record -type trace_copy -type trace_answer -type tunnel_key tracePort bpf/from_port.c -- -O2 -g -Wall -Werror -DWEFT_TRACE
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types traceTunnel bpf/from_tunnel.c -- -O2 -g -Wall -Werror -DWEFT_TRACE
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types rehearsePort bpf/from_port.c -- -O2 -g -Wall -Werror -DWEFT_TRACE -DWEFT_REHEARSAL
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types rehearseTunnel bpf/from_tunnel.c -- -O2 -g -Wall -Werror -DWEFT_TRACE -DWEFT_REHEARSAL
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types traceHost bpf/from_host.c -- -O2 -g -Wall -Werror -DWEFT_TRACE
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types rehearseHost bpf/from_host.c -- -O2 -g -Wall -Werror -DWEFT_TRACE -DWEFT_REHEARSAL
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types rehearseFabric bpf/from_fabric.c -- -O2 -g -Wall -Werror -DWEFT_TRACE -DWEFT_REHEARSAL
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types bridge bpf/bridge.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types traceBridge bpf/bridge.c -- -O2 -g -Wall -Werror -DWEFT_TRACE
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types rehearseBridge bpf/bridge.c -- -O2 -g -Wall -Werror -DWEFT_TRACE -DWEFT_REHEARSAL
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types answer bpf/answer.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types traceAnswer bpf/answer.c -- -O2 -g -Wall -Werror -DWEFT_TRACE
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types rehearseAnswer bpf/answer.c -- -O2 -g -Wall -Werror -DWEFT_TRACE -DWEFT_REHEARSAL
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types mapping bpf/map.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types traceMapping bpf/map.c -- -O2 -g -Wall -Werror -DWEFT_TRACE
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types rehearseMapping bpf/map.c -- -O2 -g -Wall -Werror -DWEFT_TRACE -DWEFT_REHEARSAL
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types toUnderlay bpf/to_underlay.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types fromUnderlay bpf/from_underlay.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types traceToUnderlay bpf/to_underlay.c -- -O2 -g -Wall -Werror -DWEFT_TRACE
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types traceFromUnderlay bpf/from_underlay.c -- -O2 -g -Wall -Werror -DWEFT_TRACE
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type capture_direction -type capture_record -type capture_count capture bpf/capture.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types limit bpf/limit.c -- -O2 -g -Wall -Werror
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types mirror bpf/mirror.c -- -O2 -g -Wall -Werror
