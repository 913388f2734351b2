/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a socket is, read from its struct sock. */
#ifndef SOCK_H
#define SOCK_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "maps.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262

static __always_inline struct sock *sock_of(struct file *file)
{
	struct socket *socket = BPF_CORE_READ(file, private_data);

	return BPF_CORE_READ(socket, sk);
}

static __always_inline bool is_inet(const struct sock_desc *d)
{
	return d->family == AF_INET || d->family == AF_INET6;
}

static __always_inline bool is_tcp(const struct sock_desc *d)
{
	return is_inet(d) && d->type == SOCK_STREAM &&
	       (d->protocol == IPPROTO_TCP || d->protocol == IPPROTO_MPTCP);
}

/* Fills a zeroed description. */
static __always_inline void describe(struct sock_desc *d, struct sock *sk)
{
	d->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	d->type = BPF_CORE_READ(sk, sk_type);
	d->protocol = BPF_CORE_READ(sk, sk_protocol);
	d->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	d->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (!is_inet(d))
		return;
	d->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	d->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (d->family == AF_INET) {
		BPF_CORE_READ_INTO((__be32 *)d->local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__be32 *)d->remote, sk, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO(&d->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&d->remote, sk, __sk_common.skc_v6_daddr);
	}
}

/* Lets the socket's later TCP states find it. */
static __always_inline void follow_tcp(struct sock *sk, __u64 inode)
{
	__u64 key = (__u64)sk;

	if (bpf_map_update_elem(&tcp_socks, &key, &inode, BPF_ANY))
		count(COUNT_MAP_FULL);
}

#endif
