/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* connect, at return. One that blocks is known from its TCP state meanwhile. */
#ifndef CONNECT_H
#define CONNECT_H

#include "begin.h"
#include "sock.h"

#define ERESTARTSYS 512 /* include/linux/errno.h: those from here on are the kernel's own */

/* struct sockaddr_in and sockaddr_in6 of include/uapi/linux/in.h and in6.h. */
struct address {
	__u16 family;
	__be16 port;
	union {
		__u8 v4[4];
		struct {
			__u32 flow;
			__u8 v6[16];
		};
	};
};

/* The address as the caller asked for it. The sock forgets it when the connect
 * fails at once. */
static __always_inline void asked_address(struct sock_desc *d)
{
	struct address a = {};

	if (bpf_probe_read_user(&a, sizeof(a), (void *)current_arg(1)) &&
	    bpf_probe_read_user(&a, 8, (void *)current_arg(1)))
		return;
	if (a.family == AF_INET) {
		__builtin_memset(d->remote, 0, sizeof(d->remote));
		if (d->family == AF_INET6)
			d->remote[10] = d->remote[11] = 0xff;
		__builtin_memcpy(d->family == AF_INET6 ? d->remote + 12 : d->remote, a.v4, 4);
	} else if (a.family == AF_INET6) {
		__builtin_memcpy(d->remote, a.v6, 16);
	} else {
		/* AF_UNSPEC: disconnect. */
		__builtin_memset(d->remote, 0, sizeof(d->remote));
		d->remote_port = 0;
		return;
	}
	d->remote_port = bpf_ntohs(a.port);
}

static __always_inline int on_connect_return(struct sys_exit_ctx *ctx)
{
	struct file *file;
	struct event *e;
	struct sock *sk;
	__u64 inode;
	__s32 fd;

	/* Interrupted, and about to be restarted: no result yet. */
	if (ctx->ret <= -ERESTARTSYS || !current_in_scope())
		return 0;
	fd = current_arg(0);
	file = file_of(fd);
	inode = socket_inode(file);
	if (!inode)
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	begin_event(e, REC_CONNECT);
	sk = sock_of(file);
	describe(&e->sock, sk, false);
	/* It is since it began, unless the kernel left that out, or there was no room. */
	if (is_tcp(&e->sock) && e->sock.state != TCP_CLOSE)
		follow_tcp(sk, inode);
	if (is_inet(&e->sock))
		asked_address(&e->sock);
	e->fd = fd;
	e->inode = inode;
	e->err = ctx->ret < 0 ? -ctx->ret : 0;
	submit(e);
	return 0;
}

#endif
