// SPDX-License-Identifier: Apache-2.0
// Stage mirror: which of a port's frames are copied. See doc/packet-path.md. Like
// limit it keeps nothing in the scratch of the other stages.
#pragma once

#include "parse.h"
#include "tables_mirrors.h"

// What matches look at. A part that the frame does not have matches nothing.
struct seen {
	bool ip;
	bool has_ports; // and, of ICMP, type and code
	__u8 protocol;
	__u8 type;
	__u8 code;
	__u16 source_port;
	__u16 port;
};

static __always_inline void see_transport(const struct __sk_buff *skb, struct seen *s, __u32 l4)
{
	__be16 head[2];
	if (bpf_skb_load_bytes(skb, l4, head, sizeof(head)))
		return;
	s->has_ports = true;
	s->source_port = bpf_ntohs(head[0]);
	s->port = bpf_ntohs(head[1]);
	s->type = s->source_port >> 8;
	s->code = s->source_port & 0xff;
}

static __always_inline void see_ipv6(const struct __sk_buff *skb, struct seen *s)
{
	struct ipv6 ip;
	if (bpf_skb_load_bytes(skb, ETHERNET_SIZE, &ip, sizeof(ip)))
		return;
	__u32 offset = ETHERNET_SIZE + IPV6_SIZE;
	__u8 next = ip.next_header;
	bool later = false;
	s->ip = true;
#pragma unroll
	for (int i = 0; i < MAX_EXTENSION_HEADERS; i++) {
		__u8 head[EXTENSION_MIN_SIZE];
		if (later || !is_extension(next))
			break;
		if (bpf_skb_load_bytes(skb, offset, head, sizeof(head))) {
			s->ip = false;
			return;
		}
		if (next == EXTENSION_FRAGMENT) {
			later = (head[2] << 8 | head[3]) >> 3;
			offset += EXTENSION_MIN_SIZE;
		} else if (next == EXTENSION_AH) {
			offset += (head[1] + 2) * 4;
		} else {
			offset += (head[1] + 1) * 8;
		}
		next = head[0];
	}
	s->protocol = next;
	if (!later)
		see_transport(skb, s, offset);
}

static __always_inline void see(const struct __sk_buff *skb, struct seen *s)
{
	struct ipv4 ip;
	if (skb->protocol == bpf_htons(ETHERTYPE_IPV6)) {
		see_ipv6(skb, s);
		return;
	}
	if (skb->protocol != bpf_htons(ETHERTYPE_IPV4) || bpf_skb_load_bytes(skb, ETHERNET_SIZE, &ip, sizeof(ip)))
		return;
	s->ip = true;
	s->protocol = ip.protocol;
	if (!(ip.fragment & bpf_htons(0x1fff)))
		see_transport(skb, s, ETHERNET_SIZE + (ip.version_length & 15) * 4);
}

static __always_inline bool matches(const struct mirror_match *m, const struct seen *s)
{
	__u32 f = m->flags;
	if (!s->ip || (f & MIRROR_PROTOCOL && m->protocol != s->protocol))
		return false;
	if (f & ~MIRROR_PROTOCOL && !s->has_ports)
		return false;
	if (f & MIRROR_PORTS && (s->port < m->first_port || s->port > m->last_port))
		return false;
	if (f & MIRROR_SOURCE_PORTS && (s->source_port < m->first_source_port || s->source_port > m->last_source_port))
		return false;
	return !(f & MIRROR_ICMP_TYPE && m->icmp_type != s->type) && !(f & MIRROR_ICMP_CODE && m->icmp_code != s->code);
}

static __always_inline bool wanted(const struct mirror_value *m, const struct seen *s)
{
	if (!m->matches)
		return true;
#pragma unroll
	for (int i = 0; i < MIRROR_MATCHES; i++)
		if (i < m->matches && matches(&m->match[i], s))
			return true;
	return false;
}

// The interface that the frame is of, a sub-port's number if it has its tag.
static __always_inline bool find_mirrored(const struct __sk_buff *skb, struct mirror_key *key)
{
	struct sub_port_key tag = { .device = skb->ifindex, .vlan = skb->vlan_present ? skb->vlan_tci & 0x0fff : 0 };
	key->ifindex = tag.device;
	if (!tag.vlan)
		return true;
	__u32 *number = bpf_map_lookup_elem(&sub_ports, &tag);
	if (!number)
		return false;
	key->ifindex = *number;
	return true;
}

// Puts a copy into the path that leads to the target. The mark names it there; the
// original keeps the one it had.
static __always_inline bool copy(struct __sk_buff *skb, __u32 target)
{
	struct mirror_target_value *t = bpf_map_lookup_elem(&mirror_targets, &target);
	if (!t)
		return false;
	__u32 path = t->path, mark = skb->mark;
	skb->mark = target;
	long failed = bpf_clone_redirect(skb, path, 0);
	skb->mark = mark;
	return !failed;
}

static __always_inline void stage_mirror(struct __sk_buff *skb, enum direction direction)
{
	struct mirror_key key = { .direction = direction };
	struct seen s = {};
	if (!find_mirrored(skb, &key))
		return;
	see(skb, &s);
#pragma unroll
	for (int i = 0; i < MIRRORS; i++) {
		key.number = i;
		struct mirror_value *m = bpf_map_lookup_elem(&mirrors, &key);
		struct mirror_count *count = bpf_map_lookup_elem(&mirror_counts, &key);
		if (!m || !count || !wanted(m, &s))
			continue;
		__u32 one_of = m->one_of;
		if (one_of > 1 && bpf_get_prandom_u32() % one_of) {
			count->passed_over++;
			continue;
		}
		if (!copy(skb, m->target)) {
			count->lost++;
			continue;
		}
		count->packets++;
		count->bytes += skb->len;
	}
}
