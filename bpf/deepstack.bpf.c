// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What stands before and behind the unwinder of the OpenTelemetry eBPF profiler,
 * which is tail-called: before it, whose stack is wanted; behind it, which
 * socket the stack belongs to, and whether it was seen before. And what tells
 * the profiler of a process before its first socket.
 *
 * All of a stack is done within one run of a tracepoint, on one CPU. Where nothing
 * preempts that, one slot for each CPU is enough; where it is, that is the holder's. */
#include "deepstack.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the types the Go side generates from in the BTF. */
const struct deep_birth *keep_deep_birth __attribute__((unused));
const enum deep_outcome *keep_deep_outcome __attribute__((unused));
const enum deep_counter *keep_deep_counter __attribute__((unused));
const enum deep_next *keep_deep_next __attribute__((unused));

static __always_inline void count(enum deep_counter which)
{
	count_in(&deep_counters, which);
}

static __always_inline bool in_scope(__u32 tgid)
{
	return tgid != cfg_self && (!cfg_scoped || bpf_map_lookup_elem(&scope, &tgid));
}

static __always_inline struct call *current_call(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&walking, &zero);
}

/* Takes the CPU's record and struct call for the acting thread; false if another's
 * walk has them. */
static __always_inline bool take_call(struct call *call)
{
	return !cfg_preempted || take_record(&call->by);
}

static __always_inline bool has_call(const struct call *call)
{
	return !cfg_preempted || has_record(&call->by);
}

/* Has the stack of the acting task walked for a socket. */
static __always_inline int before_call(void *ctx, __s32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
	struct call *call = current_call();
	__u64 inode = socket_inode(fd);

	if (!call || !inode)
		return 0;
	count(DEEP_ASKED);
	if (!take_call(call)) {
		count(DEEP_NOT_RUN);
		return 0;
	}
	call->inode = inode;
	call->use = 0;
	call->start = task->group_leader->start_boottime;
	call->rounds = 0;
	call->again = false;
	call->sent = false;
	bpf_tail_call(ctx, &next, NEXT_UNWIND);
	count(DEEP_NOT_RUN);
	return 0;
}

static __always_inline void send(struct call *call, enum deep_outcome outcome, __u64 stack)
{
	struct deep_birth *b = bpf_ringbuf_reserve(&births, sizeof(*b), 0);
	__u64 id = bpf_get_current_pid_tgid();

	if (b) {
		b->time = bpf_ktime_get_ns();
		b->inode = call->inode;
		b->stack = stack;
		b->use = call->use;
		b->pid = id >> 32;
		b->tid = id;
		b->outcome = outcome;
		b->pad = 0;
		bpf_ringbuf_submit(b, BPF_RB_NO_WAKEUP);
	} else {
		count(DEEP_RING_FULL);
	}
	call->inode = 0;
}

/* The profiler sends stacks without waking who reads them. That is only done by what is
 * put into the same ring, be it nothing. Those of uses, and of where sockets are asked
 * for, wait until the reader looks, for nothing of ours runs behind them. */
static __always_inline void wake_reader(void)
{
	void *nothing = bpf_ringbuf_reserve(&trace_events, sizeof(__u64), 0);

	if (nothing)
		bpf_ringbuf_discard(nothing, BPF_RB_FORCE_WAKEUP);
}

/* Runs at the tracepoint after the unwinder. If deep_stop wasn't reached, the
 * profiler had no use for the process yet. */
static __always_inline int after_call(void)
{
	struct call *call = current_call();

	if (!call || !has_call(call))
		return 0;
	if (call->inode)
		send(call, OUTCOME_UNKNOWN, 0);
	if (call->sent)
		wake_reader();
	call->sent = false;
	call->by.lock = 0;
	return 0;
}

/* Stands in the place of the profiler's program that sends the stack. */
SEC("tracepoint/deep_stop")
int deep_stop(void *ctx)
{
	struct call *call = current_call();
	__u32 zero = 0;
	void *record = bpf_map_lookup_elem(&per_cpu_records, &zero);
	__u64 id, *known;

	if (!call || !record || !call->inode || !has_call(call))
		return 0;
	if (*(__u32 *)(record + cfg_record_error) == ERR_MAX_TAIL_CALLS && call->rounds < MAX_ROUNDS) {
		call->rounds++;
		call->again = true;
		return 0;
	}
	id = stack_id(record, call->start);
	send(call, OUTCOME_WALKED, id);
	known = bpf_map_lookup_elem(&known_stacks, &id);
	if (known && bpf_ktime_get_ns() - *known < cfg_fresh_ns) {
		count(DEEP_REPEATED);
		if (call->use)
			call->by.lock = 0; /* nothing runs behind it that would */
		return 0;
	}
	*(__u64 *)(record + cfg_record_value) = id;
	call->sent = true;
	bpf_tail_call(ctx, &next, NEXT_STOP);
	return 0;
}

/* Which of the profiler's programs walks the frame that comes next: as its
 * get_next_unwinder_after_native_frame chooses. */
static __always_inline __u32 next_unwinder(void *record)
{
	struct page page = {
		.prefix = 96,
		.pid = __builtin_bswap32(bpf_get_current_pid_tgid() >> 32),
		.address = __builtin_bswap64(*(__u64 *)(record + cfg_record_pc)),
	};
	struct page_info *info = bpf_map_lookup_elem(&pid_page_to_mapping_info, &page);
	__u64 file = *(__u64 *)(record + cfg_record_file);
	__u64 at = *(__u64 *)(record + cfg_record_offset);
	struct interpreter *loop;
	__u32 unwinder;

	if (!info)
		return cfg_unwind_stop;
	unwinder = info->bias_and_unwinder >> 56;
	if (unwinder != cfg_unwind_native)
		return unwinder;
	loop = bpf_map_lookup_elem(&interpreter_offsets, &file);
	if (loop && ((at >= loop->lower1 && at <= loop->upper1) || (at >= loop->lower2 && at <= loop->upper2)) &&
	    !(*(__u32 *)(record + cfg_record_done) & 1U << (loop->unwinder & 31)))
		return loop->unwinder;
	return unwinder;
}

/* Takes up a walk that used up its tail calls. */
static __always_inline int walk_on(void *ctx)
{
	struct call *call = current_call();
	__u32 zero = 0, unwinder;
	void *record;

	if (!call || !call->again || !has_call(call))
		return 0;
	call->again = false;
	record = bpf_map_lookup_elem(&per_cpu_records, &zero);
	if (!record)
		return 0;
	unwinder = next_unwinder(record);
	if (unwinder != cfg_unwind_stop)
		*(__u32 *)(record + cfg_record_error) = 0;
	*(__u8 *)(record + cfg_record_calls) = 0;
	bpf_tail_call(ctx, &perf_progs, unwinder);
	return 0;
}

/* One for each of MAX_ROUNDS: a program can be only once at a tracepoint. */
#define WALK_ON(name)                                                                              \
	SEC("tracepoint/syscalls/sys_exit_any")                                                    \
	int name(void *ctx)                                                                        \
	{                                                                                          \
		return walk_on(ctx);                                                               \
	}

WALK_ON(deep_again1)
WALK_ON(deep_again2)
WALK_ON(deep_again3)

#define IN_SCOPE() in_scope(bpf_get_current_pid_tgid() >> 32)

SEC("tracepoint/syscalls/sys_exit_socket")
int deep_socket(struct sys_exit_ctx *ctx)
{
	return ctx->ret >= 0 && IN_SCOPE() ? before_call(ctx, ctx->ret) : 0;
}

SEC("tracepoint/syscalls/sys_exit_accept")
int deep_accept(struct sys_exit_ctx *ctx)
{
	return ctx->ret >= 0 && IN_SCOPE() ? before_call(ctx, ctx->ret) : 0;
}

/* The first of the pair stands for both. */
SEC("tracepoint/syscalls/sys_exit_socketpair")
int deep_socketpair(struct sys_exit_ctx *ctx)
{
	struct pt_regs *regs;
	__s32 fd;
	void *fds;

	if (ctx->ret != 0 || !IN_SCOPE())
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs((struct task_struct *)bpf_get_current_task_btf());
#if defined(__TARGET_ARCH_x86)
	fds = (void *)BPF_CORE_READ(regs, r10);
#else
	fds = (void *)BPF_CORE_READ(regs, regs[3]);
#endif
	/* socketpair(2) has just written them, so they are there. */
	if (bpf_probe_read_user(&fd, sizeof(fd), fds))
		return 0;
	return before_call(ctx, fd);
}

SEC("tracepoint/syscalls/sys_exit_any")
int deep_after(void *ctx __attribute__((unused)))
{
	return after_call();
}

/* Tail-called by uses.bpf.c, with the use that it has just sent. A walk that uses up
 * its tail calls stays short: to take it up again needs more programs at the
 * tracepoint, on every read and write. For the same reason none comes after this
 * one, so whether the profiler knows the process is looked at before. */
SEC("tracepoint/syscalls/sys_exit_any")
int deep_use(void *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
	struct call *call = current_call();
	struct use_walk *use;
	__u32 zero = 0;

	use = bpf_map_lookup_elem(&use_walks, &zero);
	if (!call || !use || (__u32)use->tid != (__u32)bpf_get_current_pid_tgid())
		return 0;
	count(DEEP_ASKED);
	if (!take_call(call)) {
		count(DEEP_NOT_RUN);
		return 0;
	}
	call->inode = use->inode;
	call->use = use->time;
	call->start = task->group_leader->start_boottime;
	call->rounds = MAX_ROUNDS;
	call->again = false;
	if (!profiled()) {
		send(call, OUTCOME_UNKNOWN, 0); /* and the profiler gets to know it */
		call->by.lock = 0;
	}
	bpf_tail_call(ctx, &next, NEXT_UNWIND);
	count(DEEP_NOT_RUN);
	call->inode = 0;
	call->by.lock = 0;
	return 0;
}

/* Has the profiler look at a process: as its own report_pid does. */
static __always_inline void look_at(void *ctx, __u32 tgid, __u32 tid)
{
	__u64 id = (__u64)tgid << 32 | tid;
	__u32 kind = 1; /* EVENT_TYPE_GENERIC_PID */
	bool yes = true;

	bpf_map_update_elem(&pid_events, &id, &yes, BPF_ANY);
	/* One signal is enough until Go has reacted. */
	if (bpf_map_lookup_elem(&inhibit_events, &kind) ||
	    bpf_map_update_elem(&inhibit_events, &kind, &yes, BPF_NOEXIST))
		return;
	bpf_perf_event_output(ctx, &report_events, BPF_F_CURRENT_CPU, &kind, sizeof(kind));
}

static __always_inline void learn(void *ctx, __u32 tgid)
{
	look_at(ctx, tgid, tgid);
}

SEC("tracepoint/syscalls/sys_enter_mmap")
int enter_mmap(struct sys_enter_ctx *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	__u8 yes = 1;

	if ((ctx->args[2] & PROT_EXEC) && IN_SCOPE())
		bpf_map_update_elem(&mapping_code, &tid, &yes, BPF_ANY);
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_mmap")
int exit_mmap(void *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tid = id;

	if (!bpf_map_lookup_elem(&mapping_code, &tid))
		return 0;
	bpf_map_delete_elem(&mapping_code, &tid);
	learn(ctx, id >> 32);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int on_exec(__u64 *arg)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	if (in_scope(tgid))
		look_at(arg, tgid, 0);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int on_fork(__u64 *arg)
{
	struct task_struct *child = (struct task_struct *)arg[1];
	__u32 parent = bpf_get_current_pid_tgid() >> 32;
	__u32 tgid = BPF_CORE_READ(child, tgid);
	__u8 yes = 1;

	if (!cfg_children || tgid == parent || !in_scope(parent))
		return 0;
	bpf_map_update_elem(&scope, &tgid, &yes, BPF_ANY);
	learn(arg, tgid);
	return 0;
}

/* When there is nothing left of a process in /proc: the profiler looks, and lets
 * go of it. */
SEC("tp_btf/sched_process_free")
int on_free(__u64 *arg)
{
	struct task_struct *task = (struct task_struct *)arg[0];
	__u32 tgid = BPF_CORE_READ(task, tgid);

	if (BPF_CORE_READ(task, pid) != (int)tgid || !in_scope(tgid))
		return 0;
	bpf_map_delete_elem(&scope, &tgid);
	learn(arg, tgid);
	return 0;
}

/* Run from Go for a process that lives already. */
SEC("raw_tp")
int learn_now(__u64 *arg)
{
	learn(arg, arg[0]);
	return 0;
}

/* Run from Go, once: how far above its base a thread's kernel stack has the
 * registers of user space. */
SEC("raw_tp")
int registers_at(void *ctx __attribute__((unused)))
{
	struct task_struct *task = bpf_get_current_task_btf();

	return bpf_task_pt_regs(task) - (long)BPF_CORE_READ(task, stack);
}
