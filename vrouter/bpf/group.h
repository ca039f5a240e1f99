// SPDX-License-Identifier: Apache-2.0
// Part of stage route: which of several equal next hops a frame takes.
#pragma once

#include "fragment.h"
#include "lookup.h"

static __always_inline __u32 mixed(__u32 h, __u32 word)
{
	h = (h ^ word) * 0x9e3779b1;
	return h ^ h >> 15;
}

static __always_inline __u32 mixed_address(__u32 h, const struct address *a, bool named)
{
#pragma unroll
	for (int i = 0; i < 4; i++)
		h = mixed(h, named ? bpf_ntohl(a->word[i]) : 0);
	return h;
}

// As doc/packet-path.md defines it.
static __always_inline __u32 flow_hash(const struct packet *p, __u32 fields)
{
	const struct notes *n = p->notes;
	if (!n->tuple)
		fields &= GROUP_SOURCE | GROUP_DESTINATION;
	__u32 ports = 0;
	if (fields & GROUP_SOURCE_PORT)
		ports |= (__u32)bpf_ntohs(n->source_port) << 16;
	if (fields & GROUP_DESTINATION_PORT)
		ports |= bpf_ntohs(n->destination_port);
	__u32 h = mixed_address(0, &p->source, fields & GROUP_SOURCE);
	h = mixed_address(h, &p->destination, fields & GROUP_DESTINATION);
	h = mixed(h, fields & GROUP_PROTOCOL ? n->protocol : 0);
	h = mixed(h, ports) * 0x85ebca6b;
	h = (h ^ h >> 13) * 0xc2b2ae35;
	return h ^ h >> 16;
}

static __always_inline __u32 bucket_of(const struct packet *p, __u32 fields)
{
	return flow_hash(p, fields) % GROUP_BUCKETS;
}

// What is looked for among a group's members, and its place. The search is a
// bpf_loop: the verifier looks at its body once, not for each member.
struct member_search {
	const struct group_value *group;
	struct mac mac;
	__u32 next_hop; // 0: a port
	__u32 ifindex; // 0: any
	__u32 found;
};

static long is_it(__u32 i, struct member_search *s)
{
	if (i >= s->group->count)
		return 1;
	__u64 at = i;
	barrier_var(at); // the verifier is to see the bound where it is used
	const struct group_member *m = &s->group->members[at % GROUP_MEMBERS];
	bool it = s->ifindex ? m->ifindex == s->ifindex :
			       mac_equal(&m->mac, &s->mac) && (s->next_hop ? m->next_hop == s->next_hop : m->ifindex);
	if (it)
		s->found = i;
	return it;
}

static __noinline __u32 search(struct member_search *s)
{
	s->found = GROUP_NONE;
	bpf_loop(GROUP_MEMBERS, is_it, s, 0);
	return s->found;
}

// The member that the connection of a frame from a port has used; GROUP_NONE
// if it has none, or none that is in the group now.
static __always_inline __u32 member_used(const struct packet *p, const struct group_value *g)
{
	const struct connection_value *c = p->connection;
	struct member_search s = { .group = g };
	if (!c)
		return GROUP_NONE;
	s.next_hop = *(volatile __u64 *)&c->way >> 32;
	s.mac = c->mac;
	return s.next_hop ? search(&s) : GROUP_NONE;
}

// Of the members that are ports, the one that the sender's host chose, as far
// as its MAC tells.
static __always_inline __u32 member_meant(const struct packet *p, const struct group_value *g, __u32 bucket)
{
	__u32 first = g->local[bucket];
	if (first >= GROUP_MEMBERS || mac_equal(&g->members[first].mac, &p->ethernet.destination))
		return first;
	struct member_search s = { .group = g, .mac = p->ethernet.destination };
	__u32 meant = search(&s);
	return meant < GROUP_MEMBERS ? meant : first;
}

// Lets a member's next hop, MAC and MTU stand for the route's.
static __noinline int stage_group(struct packet *p)
{
	__u32 id = p->notes->route.next_hop;
	struct group_value *g = bpf_map_lookup_elem(&groups, &id);
	if (!g)
		return end(p, REASON_UNRESOLVED_NEXT_HOP);
	__u32 bucket = bucket_of(p, g->fields) % GROUP_BUCKETS;
	__u32 i;
	if (p->from_tunnel) {
		i = member_meant(p, g, bucket);
	} else {
		i = member_used(p, g);
		if (i >= GROUP_MEMBERS)
			i = g->all[bucket];
	}
	if (i >= GROUP_MEMBERS)
		return end(p, p->from_tunnel ? REASON_TUNNEL_TO_TUNNEL : REASON_UNRESOLVED_NEXT_HOP);
	barrier_var(i); // the verifier is to see the bound where it is used
	const struct group_member *m = &g->members[i % GROUP_MEMBERS];
	p->notes->route.next_hop = m->next_hop;
	p->notes->route.mtu = m->mtu;
	p->notes->route.mac = m->mac;
	p->notes->route.flags |= ROUTE_CHOSEN;
	return NEXT;
}

// Whether an interface is a port that is a member.
static __noinline bool is_member(__u32 id, __u32 ifindex)
{
	struct group_value *g = bpf_map_lookup_elem(&groups, &id);
	if (!g)
		return false;
	struct member_search s = { .group = g, .ifindex = ifindex };
	return search(&s) < GROUP_MEMBERS;
}
