/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whose stack is walked when a process makes more calls whose stacks are wanted
 * than the rate allows in a second. Walking costs more than all else, and past some
 * hundred walks of one call the next tells nothing new. */
#ifndef BUDGET_H
#define BUDGET_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define SECOND 1000000000LL

/* Walks of a call that was not seen before which the rate does not bound: some of
 * the first are lost, because the process was not known to the unwinder yet. */
#define FIRST_WALKS 16

/* How many calls that were never seen before are walked a second whatever the rate:
 * the first stack of a call is the one that names a leak, so it waits for no other
 * call's. A millisecond or two, where each call seems to be a new one. */
#define FRESH_WALKS 64

/* Of processes whose numbers leave the same remainder two may share a budget. */
#define BUDGETS 16384

/* How many calls with a stack to be walked a process made in the second that began
 * at since. */
struct budget {
	__u64 since;
	__u32 tgid; /* whose second it is: share is for no other */
	__u32 calls;
	__u32 share; /* one in so many is walked, by the second before */
	__u32 owed;  /* walks beside the share, see budget.h */
	__u32 fresh; /* and of calls never seen before */
};

/* Process id -> its budget of stacks, at its remainder. An array, as calls_walked is,
 * because a lookup in a hash costs several times as much, and this is done for each call.
 * inserted in: budget.h, over the one whose second is over. read in: budget.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUDGETS);
	__type(key, __u32);
	__type(value, struct budget);
} budgets SEC(".maps");

#define CALL_SETS 4096
#define CALL_WAYS 4

struct call_walks {
	__u64 call; /* see callid.h; 0: none */
	__u64 last;
	__u64 walks;
};

struct call_set {
	struct call_walks way[CALL_WAYS];
};

/* The walks of calls, by the lowest bits of the call. Of two CPUs that write one
 * set at once both may be right in part: a walk more, or one less.
 * inserted in: budget.h, over the one that was walked last the longest ago; the call
 * is new then. read in: budget.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CALL_SETS);
	__type(key, __u32);
	__type(value, struct call_set);
} calls_walked SEC(".maps");

/* The process's count in this second, begun anew when the last one is over. Of two
 * threads that do so at once both are right. */
static __always_inline struct budget *budget_of(__u32 tgid, __u32 rate, __u64 now)
{
	__u32 place = tgid % BUDGETS;
	struct budget *b = bpf_map_lookup_elem(&budgets, &place);
	__s64 past;

	if (!b)
		return NULL;
	past = now - b->since; /* less than zero where another CPU was faster */
	if (past < SECOND)
		return b;
	/* What came in a second says how many of the next second's are walked; a
	 * pause in between is the end of it. */
	b->share = b->tgid == tgid && past < 2 * SECOND ? b->calls / rate + 1 : 1;
	b->tgid = tgid;
	b->calls = 0;
	b->owed = 0;
	b->fresh = 0;
	b->since = now;
	return b;
}

/* The walks of a call; NULL: there were none, or they are forgotten. */
static __always_inline struct call_walks *walks_of(struct call_set *set, __u64 call)
{
#pragma unroll
	for (int i = 0; i < CALL_WAYS; i++) {
		if (set->way[i].call == call)
			return &set->way[i];
	}
	return NULL;
}

/* Notes a walk of a call, and its first one if w is NULL. */
static __always_inline void note_walk(struct call_set *set, struct call_walks *w, __u64 call, __u64 now)
{
	if (!w) {
		w = &set->way[0];
#pragma unroll
		for (int i = 1; i < CALL_WAYS; i++) {
			if (set->way[i].last < w->last)
				w = &set->way[i];
		}
		w->call = call;
		w->walks = 0;
	}
	w->last = now;
	w->walks++;
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
	if (w && w->walks >= FIRST_WALKS && (__s64)(now - w->last) < SECOND)
		return false;
	if (b->owed >= rate)
		return false;
	b->owed++;
	return true;
}

/* Whether the stack of a call (callid.h) is left out, when rate of them are walked
 * in a second, 0: all. Past that one in so many is walked, by chance, so that no
 * rhythm of the program can hide a call. now is in ns of CLOCK_MONOTONIC. */
static __always_inline bool spare(__u64 call, __u32 rate, __u64 now)
{
	__u32 which = call % CALL_SETS, share;
	struct call_walks *w;
	struct call_set *set;
	struct budget *b;

	if (!rate)
		return false;
	b = budget_of(bpf_get_current_pid_tgid() >> 32, rate, now);
	set = bpf_map_lookup_elem(&calls_walked, &which);
	if (!b || !set)
		return false;
	__sync_fetch_and_add(&b->calls, 1);
	share = b->calls / rate + 1;
	if (share < b->share)
		share = b->share;
	w = walks_of(set, call);
	if (share > 1 && !owed(b, w, rate, now) && bpf_get_prandom_u32() % share)
		return true;
	note_walk(set, w, call, now);
	return false;
}

#endif
