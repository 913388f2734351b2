/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* How every event of a process begins. */
#ifndef BEGIN_H
#define BEGIN_H

#include "task.h"

/* Fills everything that says who did it and when, in ns of CLOCK_MONOTONIC, and zeroes
 * the rest of the size. */
static __always_inline void begin_at(struct event *e, __u64 size, enum record_kind kind, __u64 time)
{
	__u64 id = bpf_get_current_pid_tgid();

	__builtin_memset(e, 0, size);
	e->kind = kind;
	e->time = time;
	e->pid = id >> 32;
	e->tid = id;
	e->start = current_start();
	e->table = current_table();
}

static __always_inline void begin_event(struct event *e, enum record_kind kind)
{
	begin_at(e, sizeof(*e), kind, bpf_ktime_get_ns());
}

/* Adds the process's name, which is not a thread's. */
static __always_inline void name_event(struct event *e)
{
	if (e->pid == e->tid)
		bpf_get_current_comm(e->comm, sizeof(e->comm));
	else
		BPF_CORE_READ_INTO(&e->comm, current_task(), group_leader, comm);
}

#endif
