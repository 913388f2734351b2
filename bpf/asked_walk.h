/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whose stack is walked, and how. */
#ifndef ASKED_WALK_H
#define ASKED_WALK_H

#include "asked_doing.h"
#include "budget.h"
#include "callid.h"

/* Words of the stack that are read at once. */
#define PIECE 16

static __always_inline void count(enum ask_counter which)
{
	__u32 key = which;
	__u64 *n = bpf_map_lookup_elem(&ask_counters, &key);

	if (n)
		(*n)++;
}

/* Whether the walk that holds the record of this CPU came to its end. The last
 * program of the profiler can't tell. But its thread is not on this CPU any more:
 * if it gave it up by itself, or was on a CPU again since, the walk is over. */
static __always_inline bool over(const struct walk *w)
{
	struct task_struct *task = (struct task_struct *)w->task;

	if (BPF_CORE_READ(task, pid) != (int)w->tid)
		return false; /* it holds the record, and didn't come to say since when */
	return BPF_CORE_READ(task, nvcsw) != w->yielded || BPF_CORE_READ(task, nivcsw) > w->preempted + 1 ||
	       bpf_ktime_get_ns() - w->since > WALK_NS;
}

/* Which call of a function it is that was just entered, see callid.h. The stack of
 * a BPF program is small, and a map's room would be another's meanwhile: programs at
 * uprobes can be preempted by one another. */
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
	__u32 zero = 0, tid = bpf_get_current_pid_tgid(), holder;
	struct walk *w = bpf_map_lookup_elem(&walks, &zero);

	if (!w)
		return 0;
	holder = __sync_val_compare_and_swap(&w->tid, 0, tid);
	if (holder && holder != tid && (!over(w) || __sync_val_compare_and_swap(&w->tid, holder, tid) != holder)) {
		count(ASK_BUSY);
		return 0;
	}
	w->since = bpf_ktime_get_ns();
	w->task = (__u64)task;
	w->yielded = BPF_CORE_READ(task, nvcsw);
	w->preempted = BPF_CORE_READ(task, nivcsw);
	w->handle = key;
	w->start = BPF_CORE_READ(task, group_leader, start_boottime);
	bpf_tail_call(ctx, &ask_nexts, ASK_UNWIND);
	count(ASK_NOT_RUN);
	w->tid = 0;
	return 0;
}

#endif
