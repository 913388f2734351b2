/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What a system call must know at its return of how things were at its entry. */
#ifndef CALL_H
#define CALL_H

#include "task.h"

/* Remembers how things were when a call was entered. */
static __always_inline void enter_call(__u64 inode)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct call call = {
		.begin = bpf_ktime_get_ns(),
		.table = current_table(),
		.inode = inode,
	};

	if (bpf_map_update_elem(&calls, &tid, &call, BPF_ANY))
		count(COUNT_MAP_FULL);
}

/* Takes back what enter_call remembered for a thread; false when it wasn't
 * called. */
static __always_inline bool leave_call_of(__u32 tid, struct call *call)
{
	struct call *found = bpf_map_lookup_elem(&calls, &tid);

	if (!found)
		return false;
	*call = *found;
	bpf_map_delete_elem(&calls, &tid);
	return true;
}

static __always_inline bool leave_call(struct call *call)
{
	return leave_call_of(bpf_get_current_pid_tgid(), call);
}

#endif
