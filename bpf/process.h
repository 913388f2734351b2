/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* fork, exec, exit: descriptor tables come and go without any system call on
 * descriptors. */
#ifndef PROCESS_H
#define PROCESS_H

#include "begin.h"
#include "call.h"

/* In the parent; the child has its table but has not run. */
static __always_inline int on_fork(struct task_struct *child)
{
	__u32 tgid = BPF_CORE_READ(child, tgid);
	__u64 table = table_id(BPF_CORE_READ(child, files));
	bool thread = tgid == bpf_get_current_pid_tgid() >> 32;
	struct event *e;
	__u8 yes = 1;

	/* Whatever the parent's name: the child may come to have another. */
	if ((thread && table == current_table()) || !is_target(bpf_get_current_pid_tgid() >> 32))
		return 0;
	if (!thread && (cfg_scope & SCOPE_PIDS)) {
		if (!(cfg_scope & SCOPE_CHILDREN))
			return 0;
		if (bpf_map_update_elem(&targets, &tgid, &yes, BPF_ANY))
			count(COUNT_MAP_FULL);
	}
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	if (thread) {
		/* clone(CLONE_THREAD) without CLONE_FILES is unshare from birth. */
		begin_event(e, REC_UNSHARE);
		e->table2 = e->table;
		e->table = table;
	} else {
		begin_event(e, REC_FORK);
		name_event(e);
		e->table2 = table;
		e->child_pid = tgid;
		e->child_start = BPF_CORE_READ(child, start_boottime);
	}
	submit(e);
	return 0;
}

static __always_inline int on_exec_entry(struct sys_enter_ctx *ctx __attribute__((unused)))
{
	if (current_in_scope())
		enter_call(0);
	return 0;
}

/* It failed: on_exec takes back what a successful one remembered. */
static __always_inline int on_exec_return(struct sys_exit_ctx *ctx __attribute__((unused)))
{
	struct call call;

	leave_call(&call);
	return 0;
}

#define EXEC_FDS (EXEC_FDS_WORDS * 64)

/* Sends which of count descriptors are open, from first on; false when there was
 * no room. */
static __always_inline bool send_exec_fds(struct fdtable *fdt, __u32 first, __u32 count)
{
	struct exec_fds *x = reserve(sizeof(*x));
	__u64 size = count / 8;

	if (!x)
		return false;
	__builtin_memset(x, 0, sizeof(*x));
	x->kind = REC_EXEC_FDS;
	x->pid = bpf_get_current_pid_tgid() >> 32;
	x->time = bpf_ktime_get_ns();
	x->start = current_start();
	x->table = current_table();
	x->first = first;
	x->count = count;
	/* The compiler knows that it fits and would drop the check. The verifiers
	 * of 5.10 and 6.1 do not, and refuse the program. */
	if (!__builtin_constant_p(count))
		barrier_var(size);
	if (size > sizeof(x->open))
		size = sizeof(x->open);
	bpf_probe_read_kernel(x->open, size, BPF_CORE_READ(fdt, open_fds) + first / 64);
	submit(x);
	return true;
}

/* The most parts an exec's descriptors are sent in: 65,536 of them. */
#define EXEC_PARTS 16

/* Only the last part can be short, and the loop ends with it: were it to go on,
 * the verifier of 5.10 would follow every series of short and full ones. */
static __always_inline void send_open_fds(struct fdtable *fdt)
{
	__u32 max = BPF_CORE_READ(fdt, max_fds);

	for (__u32 part = 0; part < EXEC_PARTS; part++) {
		__u32 first = part * EXEC_FDS;

		if (first >= max)
			return;
		if (max - first < EXEC_FDS) {
			send_exec_fds(fdt, first, max - first);
			return;
		}
		if (!send_exec_fds(fdt, first, EXEC_FDS))
			return;
	}
}

/* After close-on-exec was carried out. No other thread is left, so the table
 * stands still; sending what is open is exact, whatever was missed before. A
 * thread that calls exec takes over the id of the first: old_tid was its own. */
static __always_inline int on_exec(struct task_struct *task, __u32 old_tid)
{
	struct call call;
	bool known = leave_call_of(old_tid, &call);
	struct event *e;

	if (!current_in_scope())
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	begin_event(e, REC_EXEC);
	name_event(e);
	e->table2 = known ? call.table : e->table;
	submit(e);

	send_open_fds(BPF_CORE_READ(task, files, fdt));
	return 0;
}

/* Fires for every thread, before it lets go of its descriptors. */
static __always_inline int on_exit(struct task_struct *task)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tgid = id >> 32, tid = id;
	struct files_struct *files = BPF_CORE_READ(task, files);
	/* In this order: a thread leaves live before it leaves the table, so one
	 * that still counts in live here is none of those that used the table. */
	bool alone = BPF_CORE_READ(files, count.counter) == 1;
	bool last = BPF_CORE_READ(task, signal, live.counter) == 0;
	struct event *e;
	bool scoped;

	bpf_map_delete_elem(&calls, &tid);
	scoped = current_in_scope();
	/* Two threads that leave at the same time may both find that they are the
	 * last; one of them takes the process off the targets, and tells. */
	if (last && bpf_map_delete_elem(&targets, &tgid) && cfg_scope & SCOPE_PIDS)
		return 0;
	if (!scoped)
		return 0;
	if (!last && !alone)
		return 0;
	e = reserve(sizeof(*e));
	if (!e)
		return 0;
	begin_event(e, last ? REC_EXIT : REC_TABLE_EXIT);
	name_event(e);
	submit(e);
	return 0;
}

#endif
