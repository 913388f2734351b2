/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who has the profiler's record of a CPU. A walk is made of tail calls, during which
 * nothing can be held (hold.h): where programs are preempted, another thread's program
 * may begin on the same CPU before the walk is over. */
#ifndef RECORD_H
#define RECORD_H

#include <bpf/bpf_core_read.h>
#include "hold.h"

/* How long a walk may have the record when nothing else tells whether it came to its
 * end: in units of 2^20 ns, about 100 ms. */
#define WALK_UNITS 96

struct holder {
	__u64 lock; /* see lock_of; zero: none */
	__u64 task; /* its struct task_struct */
	__u64 yielded; /* how often it had been switched out when the walk began: */
	__u64 preempted; /* by itself, and by others */
};

/* The holder of a CPU's record is one word, so that the time is always that of the
 * thread: in the upper half when it took the record, in units of 2^20 ns, and its
 * id in the lower. */
static __always_inline __u64 lock_of(__u32 tid)
{
	return bpf_ktime_get_ns() >> 20 << 32 | tid;
}

/* Whether the walk that has the record of this CPU came to its end. The last
 * program of the profiler can't tell. But its thread is not on this CPU any more:
 * if it gave it up by itself, or was on a CPU again since, the walk is over. Of a
 * thread that is gone only the time tells. */
static __always_inline bool over(const struct holder *h, __u64 held, __u64 now)
{
	struct task_struct *task = (struct task_struct *)h->task;

	if ((__u32)(now >> 32) - (__u32)(held >> 32) > WALK_UNITS)
		return true;
	if (BPF_CORE_READ(task, pid) != (int)(__u32)held)
		return false; /* it didn't come to say which it is, or has ended */
	return BPF_CORE_READ(task, nvcsw) != h->yielded || BPF_CORE_READ(task, nivcsw) > h->preempted + 1;
}

static __always_inline bool take_held(struct holder *h)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 tid = bpf_get_current_pid_tgid();
	/* Read before the time: who takes it meanwhile took it later. */
	__u64 held = *(volatile __u64 *)&h->lock, now = lock_of(tid);

	if (held && (__u32)held != tid && !over(h, held, now))
		return false;
	if (__sync_val_compare_and_swap(&h->lock, held, now) != held)
		return false;
	h->task = (__u64)task;
	h->yielded = BPF_CORE_READ(task, nvcsw);
	h->preempted = BPF_CORE_READ(task, nivcsw);
	return true;
}

/* Takes the record of this CPU for the acting thread; false if another walk has it. Held,
 * so that nobody reads who has it while that is being written. */
static __always_inline bool take_record(struct holder *h)
{
	return HELD(take_held(h));
}

static __always_inline bool has_record(const struct holder *h)
{
	return (__u32)h->lock == (__u32)bpf_get_current_pid_tgid();
}

#endif
