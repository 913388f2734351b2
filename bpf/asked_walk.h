/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whose stack is walked, and how. */
#ifndef ASKED_WALK_H
#define ASKED_WALK_H

#include "asked_doing.h"
#include "budget.h"
#include "callid.h"
#include "record.h"

/* Which call of a function it is that was just entered, see callid.h. */
static __always_inline __u64 entered_by(struct pt_regs *ctx)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct call_site c = {
		.pc = PC(ctx),
		.sp = ctx->sp,
		.link = returns_to(ctx),
		.begin = BPF_CORE_READ(mm, start_code),
		.end = BPF_CORE_READ(mm, end_code),
		.exec = BPF_CORE_READ(task, self_exec_id),
	};
	__u64 hash = mix_site(&c, BPF_CORE_READ(task, group_leader, start_boottime));
	__u64 words[PIECE];

	for (int i = 0; i < NEAR_WORDS; i += PIECE) {
		if (bpf_probe_read_user(words, sizeof(words), (void *)(c.sp + 8 * i)))
			break;
		hash = mix_words(hash, &c, words, PIECE);
	}
	return hash ? hash : 1;
}

/* Has the profiler walk the stack; ask_stop gives it to the handle. */
static __always_inline int walk_stack(struct pt_regs *ctx, struct handle_key key)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 zero = 0;
	struct walk *w = bpf_map_lookup_elem(&walks, &zero);

	if (!w)
		return 0;
	if (!take_record(&w->by)) {
		count(ASK_BUSY);
		return 0;
	}
	w->handle = key;
	w->start = BPF_CORE_READ(task, group_leader, start_boottime);
	bpf_tail_call(ctx, &ask_nexts, ASK_UNWIND);
	count(ASK_NOT_RUN);
	w->by.lock = 0;
	return 0;
}

#endif
