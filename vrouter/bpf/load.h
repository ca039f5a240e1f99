// SPDX-License-Identifier: Apache-2.0
// Reading the frame: in place where its bytes are at hand, as headers nearly
// always are, else by the kernel's helper, which finds them wherever they are.
#pragma once

#include "drop.h"

// offset and size must be constants.
static __always_inline int load(const struct packet *p, __u32 offset, void *to, __u32 size)
{
	void *data = (void *)(long)p->skb->data;
	void *data_end = (void *)(long)p->skb->data_end;
	if (!TRANSLATES && data + offset + size <= data_end) { // there Linux 6.18 takes offence at having two ways
		__builtin_memcpy(to, data + offset, size);
		return 0;
	}
	return bpf_skb_load_bytes(p->skb, offset, to, size);
}

// From the transport header, which usually follows an IP header without
// options or extensions.
static __always_inline int load_transport(const struct packet *p, __u32 offset, void *to, __u32 size)
{
	if (p->notes->l4 == ETHERNET_SIZE + IPV4_SIZE)
		return load(p, ETHERNET_SIZE + IPV4_SIZE + offset, to, size);
	if (p->notes->l4 == ETHERNET_SIZE + IPV6_SIZE)
		return load(p, ETHERNET_SIZE + IPV6_SIZE + offset, to, size);
	return bpf_skb_load_bytes(p->skb, p->notes->l4 + offset, to, size);
}

// An Internet checksum, from a sum of 32 bits.
static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}
