/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Calls on a socket whose result tells that it is over, or that the program has
 * done with it. All at return; what succeeds as usual is let pass at once. What
 * tells goes on to one program for all of them, by a tail call: it is large, and
 * these run on every read and write of the machine. */
#ifndef USES_H
#define USES_H

#include "connect.h"
#include "create.h"
#include "hold.h"
#include "usewalk.h"

#define EINTR 4
#define EAGAIN 11
#define EPOLL_CTL_DEL 2 /* include/uapi/linux/eventpoll.h */
#define SOL_SOCKET 1    /* include/uapi/asm-generic/socket.h */
#define SO_ERROR 4
#define SOCK_DGRAM 2 /* include/linux/net.h */

/* Where a use goes. */
enum use_next {
	USE_SEND, /* send_use */
	USE_WALK, /* who walks its stack beside us; may be empty */
	USE_NEXTS,
};

struct sys_exit_ctx;
int send_use(struct sys_exit_ctx *ctx);

/* enum use_next -> program.
 * inserted in: at load, and Go when what walks stacks has come up. deleted in: Go
 * when that ends. read in: here. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, USE_NEXTS);
	__uint(key_size, sizeof(__u32));
	__array(values, int(struct sys_exit_ctx *));
} use_nexts SEC(".maps") = {
	.values = {[USE_SEND] = (void *)&send_use},
};

struct use {
	__u64 inode;
	enum use_op op;
	__s32 fd;
	__s32 err;
	__u32 tid; /* who uses it: another thread's may be put there before it is sent */
};

/* The use that is being sent on this CPU.
 * inserted in: used. deleted in: never, it counts only for the tail call. read in:
 * on_use. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct use);
} using SEC(".maps");

/* Puts down a use of the socket behind fd, and returns whether it is one. */
static __always_inline bool note_use(enum use_op op, __s32 fd, __s32 err)
{
	struct file *file;
	__u32 zero = 0;
	struct use *u;

	if (!current_in_scope())
		return false;
	u = bpf_map_lookup_elem(&using, &zero);
	file = file_of(fd);
	if (!u)
		return false;
	u->inode = socket_inode(file);
	if (!u->inode)
		return false;
	/* A datagram can be empty: only a connection has an end. */
	if (op == USE_READ && !err && BPF_CORE_READ(sock_of(file), sk_type) == SOCK_DGRAM)
		return false;
	u->op = op;
	u->fd = fd;
	u->err = err;
	u->tid = bpf_get_current_pid_tgid();
	return true;
}

/* Has a use of the socket behind fd sent, if it is one. */
static __always_inline int used(void *ctx, enum use_op op, __s32 fd, __s32 err)
{
	if (HELD(note_use(op, fd, err)))
		bpf_tail_call(ctx, &use_nexts, USE_SEND);
	return 0;
}

/* Sends the use that was put down, and returns whether its stack is to be walked. That
 * has a budget of its own, as large as that of origins and kept in the same way, so that
 * neither takes from the other. */
static __always_inline bool send_noted(void *ctx)
{
	struct use_walk *walk;
	struct origin o;
	struct event *e;
	__u32 zero = 0;
	struct use *u;

	u = bpf_map_lookup_elem(&using, &zero);
	walk = bpf_map_lookup_elem(&use_walks, &zero);
	if (!u || !walk || u->tid != (__u32)bpf_get_current_pid_tgid())
		return false;
	o = take_origin(ctx);
	e = reserve(sizeof(*e));
	if (!e)
		return false;
	begin_at(e, sizeof(*e), REC_USE, o.time);
	e->fd = u->fd;
	e->inode = u->inode;
	e->stack = o.stack;
	e->call = o.call;
	e->walk = o.walk;
	e->err = u->err;
	e->op = u->op;
	if (o.spared)
		e->flags |= FLAG_SPARED;
	walk->inode = u->inode;
	walk->time = e->time;
	walk->tid = u->tid;
	submit(e);
	return cfg_stacks && !o.spared;
}

static __always_inline int on_use(void *ctx)
{
	if (HELD(send_noted(ctx)))
		bpf_tail_call(ctx, &use_nexts, USE_WALK);
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
