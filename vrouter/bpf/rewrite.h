// SPDX-License-Identifier: Apache-2.0
// Changes to the frame, each 0 on success. Checksums that cover a changed
// field are kept right also when the kernel carries them beside the frame.
#pragma once

#include "parse.h"

static __always_inline int set_ethernet(struct packet *p, const struct mac *destination, const struct mac *source)
{
	struct mac both[2] = { *destination, *source };
	return bpf_skb_store_bytes(p->skb, 0, both, sizeof(both), 0);
}

static __always_inline int set_hop_count(struct packet *p, __u8 to)
{
	if (p->family == FAMILY_6)
		return bpf_skb_store_bytes(p->skb, ETHERNET_SIZE + __builtin_offsetof(struct ipv6, hop_limit), &to, sizeof(to),
					   BPF_F_RECOMPUTE_CSUM);
	// Header checksum and hop count cancel out in a sum over the whole
	// packet, hence no recomputation of that.
	__be16 before = bpf_htons(p->notes->ttl << 8 | p->notes->protocol);
	__be16 after = bpf_htons(to << 8 | p->notes->protocol);
	return bpf_l3_csum_replace(p->skb, ETHERNET_SIZE + __builtin_offsetof(struct ipv4, checksum), before, after,
				   sizeof(after)) ||
	       bpf_skb_store_bytes(p->skb, ETHERNET_SIZE + __builtin_offsetof(struct ipv4, ttl), &to, sizeof(to), 0);
}
