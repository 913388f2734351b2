/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whose stack is walked when a process makes more calls whose stacks are wanted
 * than the rate allows in a second. Walking costs more than all else, and past some
 * hundred walks of one call the next tells nothing new. */
#ifndef BUDGET_H
#define BUDGET_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define SECOND 1000000000ULL

/* Walks of a call that was not seen before which the rate does not bound: some of
 * the first are lost, because the process was not known to the unwinder yet. */
#define FIRST_WALKS 16

/* How many calls that were never seen before are walked a second whatever the rate:
 * the first stack of a call is the one that names a leak, so it waits for no other
 * call's. A millisecond or two, where each call seems to be a new one. */
#define FRESH_WALKS 64

/* How many calls with a stack to be walked a process made in the second that began
 * at since. */
struct budget {
	__u64 since;
	__u32 calls;
	__u32 share; /* one in so many is walked, by the second before */
	__u32 owed;  /* walks beside the share, see budget.h */
	__u32 fresh; /* and of calls never seen before */
};

/* Process id -> its budget of stacks.
 * inserted in: budget.h. deleted in: by eviction, which begins a new second. read
 * in: budget.h. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct budget);
} budgets SEC(".maps");

struct call_walks {
	__u64 last;
	__u64 walks;
};

/* Call, see callid.h -> its walks.
 * inserted in: budget.h. deleted in: by eviction; the call is new then. read in:
 * budget.h. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct call_walks);
} calls_walked SEC(".maps");

/* The process's count in this second, begun anew when the last one is over. Of two
 * threads that do so at once both are right. */
static __always_inline struct budget *budget_of(__u32 tgid, __u32 rate, __u64 now)
{
	struct budget first = { .since = now, .share = 1 };
	struct budget *b = bpf_map_lookup_elem(&budgets, &tgid);

	if (!b) {
		bpf_map_update_elem(&budgets, &tgid, &first, BPF_NOEXIST);
		return bpf_map_lookup_elem(&budgets, &tgid);
	}
	if (now - b->since < SECOND)
		return b;
	/* What came in a second says how many of the next second's are walked; a
	 * pause in between is the end of it. */
	b->share = now - b->since < 2 * SECOND ? b->calls / rate + 1 : 1;
	b->calls = 0;
	b->owed = 0;
	b->fresh = 0;
	b->since = now;
	return b;
}

/* Whether a call has a walk coming whatever the rate: one that was not seen before,
 * was seldom walked, or not for a second. Of these there are no more than the rate
 * has of the others, beside FRESH_WALKS. A call that has to wait for it stays new. */
static __always_inline bool owed(struct budget *b, struct call_walks *w, __u32 rate, __u64 now)
{
	if (!w && b->fresh < FRESH_WALKS) {
		b->fresh++;
		return true;
	}
	if (w && w->walks >= FIRST_WALKS && now - w->last < SECOND)
		return false;
	if (b->owed >= rate)
		return false;
	b->owed++;
	return true;
}

/* Whether the stack of a call (callid.h) is left out, when rate of them are walked
 * in a second, 0: all. Past that one in so many is walked, by chance, so that no
 * rhythm of the program can hide a call. */
static __always_inline bool spare(__u64 call, __u32 rate)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_ns();
	struct call_walks first = { .last = now, .walks = 1 };
	struct call_walks *w;
	struct budget *b;
	__u32 share;

	if (!rate)
		return false;
	b = budget_of(tgid, rate, now);
	if (!b)
		return false;
	__sync_fetch_and_add(&b->calls, 1);
	share = b->calls / rate + 1;
	if (share < b->share)
		share = b->share;
	w = bpf_map_lookup_elem(&calls_walked, &call);
	if (share > 1 && !owed(b, w, rate, now) && bpf_get_prandom_u32() % share)
		return true;
	if (w) {
		w->last = now;
		w->walks++;
	} else {
		bpf_map_update_elem(&calls_walked, &call, &first, BPF_ANY);
	}
	return false;
}

#endif
