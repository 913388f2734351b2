/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whose stack is walked, and how. */
#ifndef ASKED_WALK_H
#define ASKED_WALK_H

#include "asked_doing.h"
#include "budget.h"
#include "callid.h"

/* The holder of a CPU's record is one word, so that the time is always that of the
 * thread: in the upper half when it took the record, in units of 2^20 ns, and its
 * id in the lower. */
static __always_inline __u64 lock_of(__u32 tid)
{
	return bpf_ktime_get_ns() >> 20 << 32 | tid;
}

/* Whether the walk that holds the record of this CPU came to its end. The last
 * program of the profiler can't tell. But its thread is not on this CPU any more:
 * if it gave it up by itself, or was on a CPU again since, the walk is over. Of a
 * thread that is gone only the time tells. */
static __always_inline bool over(const struct walk *w, __u64 held, __u64 now)
{
	struct task_struct *task = (struct task_struct *)w->task;

	if ((__u32)(now >> 32) - (__u32)(held >> 32) > WALK_UNITS)
		return true;
	if (BPF_CORE_READ(task, pid) != (int)(__u32)held)
		return false; /* it didn't come to say which it is, or has ended */
	return BPF_CORE_READ(task, nvcsw) != w->yielded || BPF_CORE_READ(task, nivcsw) > w->preempted + 1;
}

/* Takes the record of this CPU for the acting thread; false if another walk has it. */
static __always_inline bool take_record(struct walk *w)
{
	__u32 tid = bpf_get_current_pid_tgid();
	/* Read before the time: who takes it meanwhile took it later. */
	__u64 held = *(volatile __u64 *)&w->lock, now = lock_of(tid);

	if (held && (__u32)held != tid && !over(w, held, now))
		return false;
	return __sync_val_compare_and_swap(&w->lock, held, now) == held;
}

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
	if (!take_record(w)) {
		count(ASK_BUSY);
		return 0;
	}
	w->task = (__u64)task;
	w->yielded = BPF_CORE_READ(task, nvcsw);
	w->preempted = BPF_CORE_READ(task, nivcsw);
	w->handle = key;
	w->start = BPF_CORE_READ(task, group_leader, start_boottime);
	bpf_tail_call(ctx, &ask_nexts, ASK_UNWIND);
	count(ASK_NOT_RUN);
	w->lock = 0;
	return 0;
}

#endif
