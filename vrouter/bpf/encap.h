// SPDX-License-Identifier: Apache-2.0
// Stage encap: to another host, through the vxlan device or the label path.
#pragma once

#include "label.h"
#include "lookup.h"

static __always_inline int encap_vxlan(struct packet *p, const struct address *local)
{
	world_meet(STAGE_ENCAP);
	struct config_value *c = configuration();
	if (!c || !c->tunnel_ifindex)
		return end(p, REASON_NO_TUNNEL_DEVICE);
	__u32 ifindex = c->tunnel_ifindex;
	struct tunnel_key key = { .vni = p->next->vni, .family = p->next->family, .remote = p->next->remote, .local = *local };
	if (world_set_tunnel_key(p->skb, &key))
		return end(p, REASON_TUNNEL_KEY_FAILED);
	if (world_redirect(p->skb, ifindex) != TC_ACT_REDIRECT)
		return end(p, REASON_TUNNEL_REDIRECT_FAILED);
	world_count_sent(0, p->skb->len);
	world_verdict(VERDICT_TUNNELLED, REASON_NONE);
	return TC_ACT_REDIRECT;
}

enum {
	ENTROPY_PORT = 49152, // the first port for private use, RFC 7510
	ENTROPY_MASK = 0x3fff,
	ENTROPY_FACTOR = 0x9e3779b1,
};

static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	hash = (hash ^ word) * ENTROPY_FACTOR;
	return hash ^ hash >> 15;
}

static __always_inline __u32 mix_address(__u32 hash, enum family family, const struct address *a)
{
	hash = mix(hash, bpf_ntohl(a->word[0]));
	if (family == FAMILY_4)
		return hash;
#pragma unroll
	for (int i = 1; i < 4; i++)
		hash = mix(hash, bpf_ntohl(a->word[i]));
	return hash;
}

static __always_inline __u16 entropy_port(const struct packet *p)
{
	const struct notes *n = p->notes;
	__u32 hash = mix_address(mix_address(n->protocol, p->family, &p->source), p->family, &p->destination);
	__u32 ports = n->fragment ? 0 : bpf_ntohs(n->source_port) << 16 | bpf_ntohs(n->destination_port);
	return ENTROPY_PORT + (mix(hash, ports) & ENTROPY_MASK);
}

// Whatever does not go through the vxlan device, out of the way of what does.
static __noinline __attribute__((unused)) int encap_other(struct packet *p)
{
	world_meet(STAGE_ENCAP);
	if (p->next->encapsulation != ENCAPSULATION_MPLSUDP)
		return end(p, REASON_NO_ENCAPSULATION);
	struct config_value *c = configuration();
	if (!c || !c->label_ifindex)
		return end(p, REASON_NO_LABEL_PATH);
	struct label_path head = {
		.next_hop = bpf_htonl(p->notes->route.next_hop),
		.source_port = bpf_htons(entropy_port(p)),
		.source = c->gateway,
	};
	if (bpf_skb_store_bytes(p->skb, 0, &head, sizeof(head), 0))
		return end(p, REASON_REWRITE_FAILED);
	world_label(p->next);
	if (world_redirect(p->skb, c->label_ifindex) != TC_ACT_REDIRECT)
		return end(p, REASON_LABEL_REDIRECT_FAILED);
	world_count_sent(0, p->skb->len);
	world_verdict(VERDICT_TUNNELLED, REASON_NONE);
	return TC_ACT_REDIRECT;
}

static __always_inline int stage_encap(struct packet *p)
{
	if (p->next->encapsulation == ENCAPSULATION_VXLAN)
		return encap_vxlan(p, &p->next->local);
	return encap_other(p);
}

// What is bridged goes by VXLAN, the only one that carries frames.
static __always_inline int encap_frame(struct packet *p)
{
	struct config_value *c = configuration();
	if (!c)
		return end(p, REASON_NO_TUNNEL_DEVICE);
	struct address local = p->next->family == FAMILY_4 ? c->local4 : c->local6;
	return encap_vxlan(p, &local);
}
