/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The user stack of the acting task, by frame pointers. */
#ifndef STACK_H
#define STACK_H

#include "mix.h"
#include "task.h"

/* Sends the stack unless it was sent before, and returns its id, 0 when there is
 * none. The id covers the process and the program it runs, because the same
 * addresses mean something else in another. */
static __always_inline __u64 take_stack(void *ctx, __u64 start)
{
	struct task_struct *task = current_task();
	__u32 zero = 0;
	__u64 hash;
	__u8 yes = 1;
	long size;
	struct stack_record *s;

	s = bpf_map_lookup_elem(&stack_room, &zero);
	if (!s)
		return 0;
	size = bpf_get_stack(ctx, s->ip, sizeof(s->ip), BPF_F_USER_STACK);
	if (size <= 0 || size > (long)sizeof(s->ip)) {
		count(COUNT_STACK_MISSING);
		return 0;
	}
	s->depth = (__u64)size / 8;
	s->caller = return_address(user_regs(task));
	hash = mix(mix(start, bpf_get_current_pid_tgid() >> 32), BPF_CORE_READ(task, self_exec_id));
	hash = mix(hash, s->caller);
	for (__u32 i = 0; i < STACK_DEPTH; i++) {
		if (i >= s->depth)
			break;
		hash = mix(hash, s->ip[i]);
	}
	if (!hash)
		hash = 1;
	if (bpf_map_lookup_elem(&stacks_sent, &hash))
		return hash;

	s->kind = REC_STACK;
	s->pid = bpf_get_current_pid_tgid() >> 32;
	s->time = bpf_ktime_get_ns();
	s->start = start;
	s->id = hash;
	s->pad = 0;
	/* A new stack is rare, and its process may be gone in a moment: wake the
	 * consumer so that it looks at the process's memory map now. */
	if (bpf_ringbuf_output(&events, s, __builtin_offsetof(struct stack_record, ip) + size,
			       BPF_RB_FORCE_WAKEUP)) {
		count(COUNT_RING_FULL);
		return hash;
	}
	bpf_map_update_elem(&stacks_sent, &hash, &yes, BPF_ANY);
	return hash;
}

#endif
