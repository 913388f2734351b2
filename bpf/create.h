/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Birth: socket, socketpair, accept, accept4. All at return, when the descriptor
 * exists; a call that blocked since before the attach is seen too. */
#ifndef CREATE_H
#define CREATE_H

#include "begin.h"
#include "sock.h"
#include "budget.h"
#include "copy.h"

/* When and where a socket was made. */
struct origin {
	__u64 time;  /* ns of CLOCK_MONOTONIC */
	__u64 call;
	__u64 stack; /* by frame pointers */
	__u64 walk;  /* for unwind tables */
	bool spared; /* no stack was taken, to stay within the budget */
};

/* Which call it is, see callid.h. The first word counts whatever it is, because a
 * library may have made the call. */
static __always_inline __u64 call_id(__u64 start)
{
	struct call_site c = call_site();
	__u64 hash = mix_site(&c, start);
	__u32 zero = 0;
	struct stack_record *room = bpf_map_lookup_elem(&stack_room, &zero);

	if (room && !bpf_probe_read_user(room->ip, NEAR_WORDS * 8, (void *)c.sp))
		hash = mix_words(mix(hash, room->ip[0]), &c, room->ip + 1, NEAR_WORDS - 1);
	return hash ? hash : 1;
}

static __always_inline struct origin take_origin(void *ctx)
{
	__u64 start = current_start();
	struct origin o = {.time = bpf_ktime_get_ns()};

	if (!cfg_stacks)
		return o;
	o.call = call_id(start);
	o.spared = spare(o.call, cfg_stack_rate, o.time);
	o.stack = o.spared ? o.call : take_stack(ctx, start);
	o.walk = o.spared ? WALK_NONE : take_copy(start, o.time);
	return o;
}

/* Sends the birth of the socket behind fd, and returns whether it is one. */
static __always_inline bool born(enum record_kind kind, __s32 fd, __s32 fd2, struct origin o)
{
	/* socket(2) makes none that has an address; a raw one has its protocol for a
	 * port, which the next snapshot shows. */
	__u64 size = kind == REC_SOCKET ? SIZE_SOCKET : sizeof(struct event);
	struct file *file = file_of(fd);
	__u64 inode = socket_inode(file);
	struct event *e;
	struct sock *sk;

	if (!inode)
		return false;
	e = reserve(size);
	if (!e)
		return true;
	begin_at(e, size, kind, o.time);
	name_event(e);
	if (e->pid == e->tid)
		__builtin_memcpy(e->thread, e->comm, sizeof(e->thread));
	else
		bpf_get_current_comm(e->thread, sizeof(e->thread));
	sk = sock_of(file);
	describe_kind(&e->sock, sk, false);
	/* Before it is described, so that no change of state is between that and what is
	 * sent later. Those of the other calls have none yet: see begins in tcp.h. */
	if (kind == REC_ACCEPT && is_tcp(&e->sock))
		follow_tcp(sk, inode);
	if (kind != REC_SOCKET)
		describe(&e->sock, sk, false);
	e->fd = fd;
	e->inode = inode;
	if (kind != REC_SOCKET && fd2 >= 0) {
		e->fd2 = fd2;
		e->inode2 = socket_inode(file_of(fd2));
	}
	e->stack = o.stack;
	e->call = o.call;
	e->walk = o.walk;
	if (o.spared)
		e->flags |= FLAG_SPARED;
	submit(e);
	return true;
}

/* The numbers of the system calls of which on_birth is the return. */
#if defined(__TARGET_ARCH_x86)
#define NR_SOCKET 41	 /* arch/x86/entry/syscalls/syscall_64.tbl */
#define NR_SOCKETPAIR 53
#elif defined(__TARGET_ARCH_arm64)
#define NR_SOCKET 198	 /* include/uapi/asm-generic/unistd.h */
#define NR_SOCKETPAIR 199
#endif

/* Has on_born call a walker, or none: what was wanted before is over. */
static __always_inline void want_walk(enum walker walker)
{
	__u32 zero = 0;
	struct wanted_walk *w = bpf_map_lookup_elem(&wanted_walks, &zero);

	if (!w)
		return;
	w->tid = walker < WALKERS ? bpf_get_current_pid_tgid() : 0;
	w->walker = walker;
}

/* Whether nobody has sent the birth of the socket behind fd, where two programs could.
 * What a preempted program is left out for (hold.h), its second copy sends, unless that
 * was preempted as well. Only this program has one: it runs longest, and what the others
 * are left out for, a snapshot shows.
 * Of two threads whose numbers leave the same remainder, and that make sockets at the
 * very same time, one may be told twice. */
static __always_inline bool to_be_sent(__s32 fd)
{
	__u32 slot = (__u32)bpf_get_current_pid_tgid() % BIRTHS_SENT;
	__u64 *sent = bpf_map_lookup_elem(&births_sent, &slot);
	__u64 inode = socket_inode(file_of(fd));

	if (!sent || !inode || *sent == inode)
		return false;
	*sent = inode;
	if (cfg_spare)
		count(COUNT_TAKEN_OVER);
	return true;
}

/* The stack for all calls in one place: the verifier takes ten times as long for it as
 * for all else. */
static __always_inline int on_birth(struct sys_exit_ctx *ctx)
{
	__s32 fds[2] = {ctx->ret, -1};
	bool is_socket;
	struct origin o;

	if (ctx->ret < 0 || !current_in_scope())
		return 0;
	/* socketpair(2) has just written them: they can't be paged out in practice, but if
	 * they are, the next snapshot finds both. */
	if (ctx->nr == NR_SOCKETPAIR && bpf_probe_read_user(fds, sizeof(fds), (void *)current_arg(3)))
		return 0;
	if (cfg_twice && !to_be_sent(fds[0]))
		return 0;
	o = take_origin(ctx);
	switch (ctx->nr) {
	case NR_SOCKETPAIR:
		is_socket = born(REC_PAIR, fds[0], fds[1], o);
		born(REC_PAIR, fds[1], fds[0], o);
		want_walk(is_socket && !o.spared ? WALKER_PAIR : WALKERS);
		return 0;
	case NR_SOCKET:
		is_socket = born(REC_SOCKET, ctx->ret, -1, o);
		break;
	default: /* accept, accept4 */
		is_socket = born(REC_ACCEPT, ctx->ret, current_arg(0), o);
	}
	want_walk(is_socket && !o.spared ? WALKER_RESULT : WALKERS);
	return 0;
}

/* The walk is a program of its own behind on_birth, for it can't be held: it is made of
 * tail calls. If it is preempted and left out for others meanwhile, or another thread's
 * wish is put in the place of this one's before, a socket has lost its stack alone: Go
 * counts that by the walk that doesn't come. */
static __always_inline int on_born(struct sys_exit_ctx *ctx)
{
	__u32 zero = 0, tid = bpf_get_current_pid_tgid();
	struct wanted_walk *w = bpf_map_lookup_elem(&wanted_walks, &zero);

	if (!w || w->tid != tid)
		return 0;
	w->tid = 0;
	bpf_tail_call(ctx, &walkers, w->walker);
	return 0;
}

#endif
