// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* What stands before and behind the unwinder of the OpenTelemetry eBPF profiler,
 * which is tail-called: before it, whose stack is wanted; behind it, which
 * socket the stack belongs to, and whether it was seen before. And what tells
 * the profiler of a process before its first socket.
 *
 * All of a stack is done within one run of a tracepoint, on one CPU and without
 * preemption, so one slot for each CPU is enough. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define PROT_EXEC 4

enum {
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
};
#define BPF_F_CURRENT_CPU 0xffffffffULL

/* Set before load, frozen then. Not in .rodata: the profiler has a map of that
 * name, and maps are bound to it by name. */
#define CONFIG(type) const volatile type __attribute__((section(".rodata.deep")))

CONFIG(__u32) cfg_self;	   /* our own process: has no stacks */
CONFIG(bool) cfg_scoped;	   /* only processes in scope */
CONFIG(bool) cfg_children;  /* and what they fork from now on */
CONFIG(__u64) cfg_fresh_ns; /* how long a stack counts as known */

/* Where things are in the profiler's per-CPU record, read at load from the BTF of
 * its object. */
CONFIG(__u32) cfg_record_length; /* u16: words in the frame data; kernel addresses come first */
CONFIG(__u32) cfg_record_value;	/* u64: ours to set, comes with the trace */
CONFIG(__u32) cfg_record_frames; /* u64[]: the frame data */
CONFIG(__u32) cfg_record_error;	/* u32: why the unwinding was aborted */

/* What became of the stack of one socket, or of the two of a socketpair. */
enum deep_outcome {
	OUTCOME_WALKED = 1, /* stack says which it is */
	OUTCOME_UNKNOWN,    /* the profiler doesn't know the process yet */
};

struct deep_birth {
	__u64 time; /* ns of CLOCK_MONOTONIC */
	__u64 inode;
	__u64 stack; /* comes with the profiler's trace as its value */
	__u32 pid;
	__u32 tid;
	__u32 outcome;
	__u32 pad;
};
_Static_assert(sizeof(struct deep_birth) == 40, "deep_birth is part of the ABI");

enum deep_counter {
	DEEP_ASKED,	/* sockets whose stack was asked for */
	DEEP_RING_FULL, /* of them, those that found no place in births */
	DEEP_REPEATED,	/* walked, and known already */
	DEEP_NOT_RUN,	/* the tail call into the profiler failed */
	DEEP_COUNTERS,
};

/* Where the profiler is called. */
enum deep_next {
	NEXT_UNWIND,
	NEXT_STOP,
	NEXT_COUNT,
};

const struct deep_birth *keep_deep_birth __attribute__((unused));
const enum deep_outcome *keep_deep_outcome __attribute__((unused));
const enum deep_counter *keep_deep_counter __attribute__((unused));
const enum deep_next *keep_deep_next __attribute__((unused));

/* inserted in: deep_stop, after_call. read in: Go. Loss: DEEP_RING_FULL. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} births SEC(".maps");

/* enum deep_counter -> how often. inserted in: at load. read in: Go. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DEEP_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} deep_counters SEC(".maps");

/* Process id -> in scope.
 * inserted in: Go before attach, on_fork. deleted in: on_free. read in: here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, __u8);
} scope SEC(".maps");

/* Stack -> when Go had it (ns of CLOCK_MONOTONIC): it isn't sent again.
 * inserted in: Go, once the stack arrived, because it may not. deleted in: Go, and
 * by eviction. read in: deep_stop. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} known_stacks SEC(".maps");

/* enum deep_next -> program of the profiler. inserted in: Go before attach. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, NEXT_COUNT);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

/* The call whose stack is being walked on this CPU; inode 0: none. */
struct call {
	__u64 inode;
	__u64 start; /* of the process */
};

/* inserted in: before_call. deleted in: deep_stop, after_call. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct call);
} walking SEC(".maps");

/* Threads that are in an mmap of code.
 * inserted in: enter_mmap. deleted in: exit_mmap, and by eviction. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} mapping_code SEC(".maps");

/* The profiler's own maps, bound to by name at load; see
 * support/ebpf/extmaps.h of its source for what they are. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 32 << 10);
} per_cpu_records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, bool);
} pid_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, bool);
} inhibit_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, int);
	__type(value, __u32);
} report_events SEC(".maps");

static __always_inline void count(enum deep_counter which)
{
	__u32 key = which;
	__u64 *n = bpf_map_lookup_elem(&deep_counters, &key);

	if (n)
		(*n)++;
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

/* The inode number of the socket behind a descriptor of the acting task, 0 if it
 * is none. */
static __always_inline __u64 socket_inode(struct task_struct *task, __u32 fd)
{
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	struct inode *inode;
	struct file *file;

	if (fd >= BPF_CORE_READ(fdt, max_fds) ||
	    bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(fdt, fd) + fd) || !file)
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	return BPF_CORE_READ(inode, i_ino);
}

/* Has the stack of the acting task walked for a socket. */
static __always_inline int before_call(void *ctx, __s32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct call *call = current_call();

	if (!call)
		return 0;
	call->inode = socket_inode(task, fd);
	if (!call->inode)
		return 0;
	call->start = BPF_CORE_READ(task, group_leader, start_boottime);
	count(DEEP_ASKED);
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

/* Runs at the tracepoint after the unwinder. If deep_stop wasn't reached, the
 * profiler had no use for the process yet. */
static __always_inline int after_call(void)
{
	struct call *call = current_call();

	if (call && call->inode)
		send(call, OUTCOME_UNKNOWN, 0);
	return 0;
}

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9fb21c651e98df25ULL;
	return hash ^ hash >> 28;
}

/* No stack is longer in the profiler's record. */
#define MAX_WORDS 3072

/* The stack as the profiler has it: what it is, not where it was taken. Of two
 * processes with the same frames each has its own, because an address of an
 * interpreted function means something else in each. */
static __always_inline __u64 stack_id(void *record, const struct call *call)
{
	__u64 *frame = record + cfg_record_frames;
	__u32 words = *(__u16 *)(record + cfg_record_length);
	__u64 hash = mix(call->start, bpf_get_current_pid_tgid() >> 32);

	hash = mix(hash, *(__u32 *)(record + cfg_record_error));
	for (__u32 i = 0; i < MAX_WORDS; i++) {
		if (i >= words)
			break;
		hash = mix(hash, frame[i]);
	}
	return hash ? hash : 1;
}

/* Stands in the place of the profiler's program that sends the stack. */
SEC("tracepoint/deep_stop")
int deep_stop(void *ctx)
{
	struct call *call = current_call();
	__u32 zero = 0;
	void *record = bpf_map_lookup_elem(&per_cpu_records, &zero);
	__u64 id, *known;

	if (!call || !record || !call->inode)
		return 0;
	id = stack_id(record, call);
	send(call, OUTCOME_WALKED, id);
	known = bpf_map_lookup_elem(&known_stacks, &id);
	if (known && bpf_ktime_get_ns() - *known < cfg_fresh_ns) {
		count(DEEP_REPEATED);
		return 0;
	}
	*(__u64 *)(record + cfg_record_value) = id;
	bpf_tail_call(ctx, &next, NEXT_STOP);
	return 0;
}

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

/* Has the profiler look at a process: as its own report_pid does. */
static __always_inline void learn(void *ctx, __u32 tgid)
{
	__u64 id = (__u64)tgid << 32 | tgid;
	__u32 kind = 1; /* EVENT_TYPE_GENERIC_PID */
	bool yes = true;

	bpf_map_update_elem(&pid_events, &id, &yes, BPF_ANY);
	/* One signal is enough until Go has reacted. */
	if (bpf_map_lookup_elem(&inhibit_events, &kind) ||
	    bpf_map_update_elem(&inhibit_events, &kind, &yes, BPF_NOEXIST))
		return;
	bpf_perf_event_output(ctx, &report_events, BPF_F_CURRENT_CPU, &kind, sizeof(kind));
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
		learn(arg, tgid);
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
