/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What happens to descriptors: close, close_range, dup, dup2, dup3,
 * fcntl(F_DUPFD*), unshare. Only those that concern a socket are sent. */
#ifndef DESCRIPTOR_H
#define DESCRIPTOR_H

#include "begin.h"
#include "call.h"

#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030
#define CLONE_FILES 0x400
#define CLOSE_RANGE_CLOEXEC 4

/* At entry: the number is free, and can be another socket's, before close
 * returns. It frees the descriptor whatever it returns, but for EBADF, and that
 * it can only return here if another thread closes the same one right now. */
static __always_inline int on_close(struct sys_enter_ctx *ctx)
{
	struct event *e;
	__u64 inode;

	if (!current_in_scope())
		return 0;
	inode = socket_inode(file_of(ctx->args[0]));
	if (!inode)
		return 0;
	e = reserve(SIZE_CLOSE);
	if (!e)
		return 0;
	begin_at(e, SIZE_CLOSE, REC_CLOSE, bpf_ktime_get_ns());
	e->fd = ctx->args[0];
	e->inode = inode;
	submit(e);
	return 0;
}

static __always_inline void duplicated(__s32 fd, __u64 replaced)
{
	__u64 inode = socket_inode(file_of(fd));
	struct event *e;

	if (!inode && !replaced)
		return;
	e = reserve(sizeof(*e));
	if (!e)
		return;
	begin_event(e, REC_DUP);
	e->fd = fd;
	e->inode = inode;
	e->inode2 = replaced;
	submit(e);
}

static __always_inline int on_dup_return(struct sys_exit_ctx *ctx)
{
	if (ctx->ret >= 0 && current_in_scope())
		duplicated(ctx->ret, 0);
	return 0;
}

static __always_inline int on_fcntl_return(struct sys_exit_ctx *ctx)
{
	__u32 command;

	if (ctx->ret < 0 || !current_in_scope())
		return 0;
	command = current_arg(1);
	if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
		duplicated(ctx->ret, 0);
	return 0;
}

/* dup2 and dup3 close what their target referred to. */
static __always_inline int on_dup_onto(struct sys_enter_ctx *ctx)
{
	__u64 inode;

	/* dup2 on itself does nothing, dup3 fails. */
	if (ctx->args[0] == ctx->args[1] || !current_in_scope())
		return 0;
	inode = socket_inode(file_of(ctx->args[1]));
	if (inode || socket_inode(file_of(ctx->args[0])))
		enter_call(inode);
	return 0;
}

static __always_inline int on_dup_onto_return(struct sys_exit_ctx *ctx)
{
	struct call call;

	if (leave_call(&call) && ctx->ret >= 0)
		duplicated(ctx->ret, call.inode);
	return 0;
}

/* Whether no thread is left of the process that could use the table that this
 * one has just left: another process may (CLONE_FILES). */
static __always_inline __u8 left_alone(void)
{
	return BPF_CORE_READ(current_task(), signal, nr_threads) == 1 ? FLAG_ALONE : 0;
}

static __always_inline int on_close_range(struct sys_enter_ctx *ctx)
{
	/* Backwards, it fails. */
	if ((__u32)ctx->args[0] <= (__u32)ctx->args[1] && current_in_scope())
		enter_call(0);
	return 0;
}

static __always_inline int on_close_range_return(struct sys_exit_ctx *ctx)
{
	struct pt_regs *regs;
	struct call call;
	struct event *e;
	__u32 last;

	if (!leave_call(&call) || ctx->ret != 0)
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	begin_event(e, REC_CLOSE_RANGE);
	regs = user_regs(current_task());
	last = call_arg(regs, 1);
	e->fd = call_arg(regs, 0);
	e->fd2 = last > 0x7fffffff ? 0x7fffffff : last;
	e->table2 = call.table;
	e->begin = call.begin;
	e->flags = left_alone();
	if (call_arg(regs, 2) & CLOSE_RANGE_CLOEXEC)
		e->flags |= FLAG_CLOEXEC;
	submit(e);
	return 0;
}

static __always_inline int on_unshare(struct sys_enter_ctx *ctx)
{
	if ((ctx->args[0] & CLONE_FILES) && current_in_scope())
		enter_call(0);
	return 0;
}

static __always_inline int on_unshare_return(struct sys_exit_ctx *ctx)
{
	struct call call;
	struct event *e;

	if (!leave_call(&call) || ctx->ret != 0 || call.table == current_table())
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	begin_event(e, REC_UNSHARE);
	e->flags = left_alone();
	e->table2 = call.table;
	submit(e);
	return 0;
}

#endif
