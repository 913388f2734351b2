/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* TCP states, in whatever task or interrupt they happen: the current task says
 * nothing about whose socket it is. */
#ifndef TCP_H
#define TCP_H

#include "sock.h"

static __always_inline struct event *tcp_event(enum record_kind kind, __u64 size, __u64 inode)
{
	struct event *e = reserve(size);

	if (!e)
		return NULL;
	__builtin_memset(e, 0, size);
	e->kind = kind;
	e->time = bpf_ktime_get_ns();
	e->inode = inode;
	return e;
}

static __always_inline int on_tcp_state(struct sock *sk, int old_state, int new_state)
{
	__u64 key = (__u64)sk, *inode = bpf_map_lookup_elem(&tcp_socks, &key);
	struct event *e;

	if (!inode)
		return 0;
	e = tcp_event(REC_TCP_STATE, SIZE_TCP_STATE, *inode);
	if (!e)
		return 0;
	describe(&e->sock, sk, true);
	e->sock.state = new_state;
	e->old_state = old_state;
	e->err = sk->sk_err;
	submit(e);
	return 0;
}

static __always_inline int on_tcp_destroy(struct sock *sk)
{
	__u64 key = (__u64)sk, *found = bpf_map_lookup_elem(&tcp_socks, &key), inode;
	struct event *e;

	if (!found)
		return 0;
	inode = *found;
	bpf_map_delete_elem(&tcp_socks, &key);
	e = tcp_event(REC_TCP_DESTROY, SIZE_TCP_DESTROY, inode);
	if (e)
		submit(e);
	return 0;
}

#endif
