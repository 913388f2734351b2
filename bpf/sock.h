/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a socket is, read from its struct sock. */
#ifndef SOCK_H
#define SOCK_H

#include <bpf/bpf_endian.h>
#include "task.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262

/* include/net/tcp_states.h */
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_FIN_WAIT1 4
#define TCP_CLOSE 7
#define TCP_LAST_ACK 9
#define TCP_LISTEN 10
#define TCP_CLOSING 11

static __always_inline struct sock *sock_of(struct file *file)
{
	void *socket = READ(file, file, private_data);

	return READ(socket, socket, sk);
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

#define FIELD(field) (typed ? sk->field : READ(sock, sk, field))
/* Fills a zeroed description but for the addresses. typed: sk came from the kernel as
 * a typed pointer, which can be loaded from directly. */
static __always_inline void describe_kind(struct sock_desc *d, struct sock *sk, bool typed)
{
	d->family = FIELD(__sk_common.skc_family);
	d->type = FIELD(sk_type);
	d->protocol = FIELD(sk_protocol);
	d->state = FIELD(__sk_common.skc_state);
}

/* And with them. */
static __always_inline void describe(struct sock_desc *d, struct sock *sk, bool typed)
{
	__u64 addresses;
	__u32 ports;

	describe_kind(d, sk, typed);
	if (!is_inet(d))
		return;
	ports = FIELD(__sk_common.skc_portpair);
	d->remote_port = bpf_ntohs((__u16)ports);
	d->local_port = ports >> 16;
	if (!ports)
		return; /* no address without a port */
	if (d->family == AF_INET) {
		addresses = FIELD(__sk_common.skc_addrpair);
		*(__u32 *)d->remote = addresses;
		*(__u32 *)d->local = addresses >> 32;
	} else {
		BPF_CORE_READ_INTO(&d->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&d->remote, sk, __sk_common.skc_v6_daddr);
	}
}
#undef FIELD

/* Lets the later TCP states of a socket find it. */
static __always_inline void follow_tcp(struct sock *sk, __u64 inode)
{
	__u64 key = (__u64)sk, *known = bpf_map_lookup_elem(&tcp_socks, &key);

	if (known && *known == inode)
		return;
	if (bpf_map_update_elem(&tcp_socks, &key, &inode, BPF_ANY))
		count(COUNT_UNFOLLOWED);
}

#endif
