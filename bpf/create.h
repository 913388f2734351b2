/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Birth: socket, socketpair, accept, accept4. All at return, when the descriptor
 * exists; a call that blocked since before the attach is seen too. */
#ifndef CREATE_H
#define CREATE_H

#include "begin.h"
#include "sock.h"
#include "copy.h"

/* Which stack a call was made on: by frame pointers, and for unwind tables. */
struct origin {
	__u64 stack;
	__u64 walk;
};

static __always_inline struct origin take_origin(void *ctx)
{
	__u64 start = current_start();
	struct origin o = { .stack = take_stack(ctx, start), .walk = take_copy(start) };

	return o;
}

/* Sends the birth of the socket behind fd, if it is one. */
static __always_inline void born(enum record_kind kind, __s32 fd, __s32 fd2, struct origin o)
{
	struct file *file = file_of(fd);
	__u64 inode = socket_inode(file);
	struct event *e;
	struct sock *sk;

	if (!inode)
		return;
	e = reserve(sizeof(*e));
	if (!e)
		return;
	begin_event(e, kind);
	name_event(e);
	sk = sock_of(file);
	describe(&e->sock, sk, false);
	if (is_tcp(&e->sock) && !follow_tcp(sk, inode))
		count(COUNT_UNFOLLOWED);
	e->fd = fd;
	e->inode = inode;
	if (fd2 >= 0) {
		e->fd2 = fd2;
		e->inode2 = socket_inode(file_of(fd2));
	}
	e->stack = o.stack;
	e->walk = o.walk;
	submit(e);
}

static __always_inline int on_socket_return(struct sys_exit_ctx *ctx)
{
	if (ctx->ret >= 0 && current_in_scope())
		born(REC_SOCKET, ctx->ret, -1, take_origin(ctx));
	return 0;
}

static __always_inline int on_socketpair_return(struct sys_exit_ctx *ctx)
{
	struct origin o;
	__s32 fds[2];

	if (ctx->ret != 0 || !current_in_scope())
		return 0;
	/* socketpair(2) has just written them: they can't be paged out in
	 * practice, but if they are, the next snapshot finds both. */
	if (bpf_probe_read_user(fds, sizeof(fds), (void *)current_arg(3)))
		return 0;
	o = take_origin(ctx);
	born(REC_PAIR, fds[0], fds[1], o);
	born(REC_PAIR, fds[1], fds[0], o);
	return 0;
}

static __always_inline int on_accept_return(struct sys_exit_ctx *ctx)
{
	if (ctx->ret >= 0 && current_in_scope())
		born(REC_ACCEPT, ctx->ret, current_arg(0), take_origin(ctx));
	return 0;
}

#endif
