/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Calls on a socket whose result tells that it is over, or that the program has
 * done with it. All at return; what succeeds as usual is let pass at once. */
#ifndef USES_H
#define USES_H

#include "begin.h"
#include "connect.h"
#include "stack.h"

#define EINTR 4
#define EAGAIN 11
#define EPOLL_CTL_DEL 2 /* include/uapi/linux/eventpoll.h */
#define SOL_SOCKET 1    /* include/uapi/asm-generic/socket.h */
#define SO_ERROR 4

/* Sends a use of the socket behind fd, if it is one. */
static __always_inline int used(void *ctx, enum use_op op, __s32 fd, __s32 err)
{
	__u64 inode, stack;
	struct event *e;

	if (!current_in_scope())
		return 0;
	inode = socket_inode(file_of(fd));
	if (!inode)
		return 0;
	stack = take_stack(ctx, current_start());
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	begin_event(e, REC_USE);
	e->fd = fd;
	e->inode = inode;
	e->stack = stack;
	e->err = err;
	e->op = op;
	submit(e);
	return 0;
}

/* Whether a call neither worked nor was only to be tried again. */
static __always_inline bool failed(long ret)
{
	return ret < 0 && ret > -ERESTARTSYS && ret != -EAGAIN && ret != -EINTR;
}

static __always_inline int on_read_return(struct sys_exit_ctx *ctx)
{
	/* Zero bytes that were asked for are no end of file. */
	if (failed(ctx->ret) || (ctx->ret == 0 && current_arg(2)))
		return used(ctx, USE_READ, current_arg(0), -ctx->ret);
	return 0;
}

static __always_inline int on_recvmsg_return(struct sys_exit_ctx *ctx)
{
	if (failed(ctx->ret) || ctx->ret == 0)
		return used(ctx, USE_READ, current_arg(0), -ctx->ret);
	return 0;
}

static __always_inline int on_write_return(struct sys_exit_ctx *ctx)
{
	return failed(ctx->ret) ? used(ctx, USE_WRITE, current_arg(0), -ctx->ret) : 0;
}

static __always_inline int on_shutdown_return(struct sys_exit_ctx *ctx)
{
	return used(ctx, USE_SHUTDOWN, current_arg(0), ctx->ret < 0 ? -ctx->ret : 0);
}

static __always_inline int on_epoll_ctl_return(struct sys_exit_ctx *ctx)
{
	if (ctx->ret == 0 && current_arg(1) == EPOLL_CTL_DEL)
		return used(ctx, USE_EPOLL_DEL, current_arg(2), 0);
	return 0;
}

static __always_inline int on_getsockopt_return(struct sys_exit_ctx *ctx)
{
	__s32 value = 0;

	if (ctx->ret != 0 || current_arg(1) != SOL_SOCKET || current_arg(2) != SO_ERROR)
		return 0;
	if (bpf_probe_read_user(&value, sizeof(value), (void *)current_arg(3)) || !value)
		return 0;
	return used(ctx, USE_SO_ERROR, current_arg(0), value);
}

#endif
