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

/* The inode number of a socket that begins to connect or to listen, in a call of a
 * process in scope; its states are followed from here on. 0: it does not, or it is a
 * subflow of MPTCP, which has no socket or that of its parent (mptcp_sock_graft), or
 * one of the kernel's own that has no file. */
static __always_inline __u64 begins(struct sock *sk, int new_state)
{
	struct socket *socket;
	struct sock_desc d;
	__u64 inode;

	if ((new_state != TCP_SYN_SENT && new_state != TCP_LISTEN) || !current_in_scope())
		return 0;
	describe_kind(&d, sk, true);
	if (!is_tcp(&d))
		return 0;
	socket = sk->sk_socket;
	if (socket->sk != sk)
		return 0;
	inode = socket->file->f_inode->i_ino;
	if (inode)
		follow_tcp(sk, inode);
	return inode;
}

/* That of a socket whose states are followed, or 0. What begins is not looked up: where
 * the kernel left the program out at its end, a sock of before is there still. */
static __always_inline __u64 followed(struct sock *sk, int new_state)
{
	__u64 key = (__u64)sk, inode = begins(sk, new_state), *known;

	if (inode)
		return inode;
	known = bpf_map_lookup_elem(&tcp_socks, &key);
	return known ? *known : 0;
}

static __always_inline int on_tcp_state(struct sock *sk, int old_state, int new_state)
{
	__u64 inode = followed(sk, new_state);
	struct event *e;

	if (!inode)
		return 0;
	e = tcp_event(REC_TCP_STATE, SIZE_TCP_STATE, inode);
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
