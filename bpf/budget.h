/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Whose stack is walked when a process makes more sockets than cfg_stack_rate a
 * second. Walking costs more than all else, and past some hundred walks of one
 * call the next tells nothing new. */
#ifndef BUDGET_H
#define BUDGET_H

#include "stack.h"

#define SECOND 1000000000ULL

/* Walks of a call that was not seen before which the rate does not bound: some of
 * the first are lost, because the process was not known to the unwinder yet. */
#define FIRST_WALKS 16

/* How many calls that were never seen before are walked a second whatever the rate:
 * the first stack of a call is the one that names a leak, so it waits for no other
 * call's. A millisecond or two, where each call seems to be a new one. */
#define FRESH_WALKS 64

/* Of the stack pointer only what is the same in every thread: stacks begin at a
 * page, those of goroutines at a multiple of 2 KiB (runtime/stack.go). */
#define STACK_OFFSET 0x7ff

/* How many words of the stack are looked at for return addresses. */
#define NEAR_WORDS 64

/* What on the innermost part of the stack points into the program's own code: with
 * or without frame pointers, that is the return addresses, and at worst one that is
 * left over from another call, which makes two of one call. The first word counts
 * whatever it is, because a library may have made the call. */
static __always_inline __u64 mix_code(__u64 hash, const struct call_site *c)
{
	__u64 size = c->end - c->begin;
	__u32 zero = 0;
	struct stack_record *room = bpf_map_lookup_elem(&stack_room, &zero);

	if (!room || bpf_probe_read_user(room->ip, NEAR_WORDS * 8, (void *)c->sp))
		return hash;
	hash = mix(hash, room->ip[0]);
	for (int i = 1; i < NEAR_WORDS; i++) {
		if (room->ip[i] - c->begin < size)
			hash = mix(hash, room->ip[i]);
	}
	return hash;
}

/* What tells one call from another without a walk: the instruction it was made
 * by, where that returns to, how deep the stack is, and which functions of the
 * program are near. Calls that differ further out only may be alike, so an origin
 * is never concluded from it alone: see internal/verdict/calls.go. */
static __always_inline __u64 call_id(__u64 start)
{
	struct call_site c = call_site();
	__u64 hash = mix(mix(start, bpf_get_current_pid_tgid() >> 32), c.exec);

	hash = mix(mix(mix(hash, c.pc), c.link), c.sp & STACK_OFFSET);
	hash = mix_code(hash, &c);
	return hash ? hash : 1;
}

/* The process's count in this second, begun anew when the last one is over. Of two
 * threads that do so at once both are right. */
static __always_inline struct budget *budget_of(__u32 tgid, __u64 now)
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
	b->share = now - b->since < 2 * SECOND ? b->calls / cfg_stack_rate + 1 : 1;
	b->calls = 0;
	b->owed = 0;
	b->fresh = 0;
	b->since = now;
	return b;
}

/* Whether a call has a walk coming whatever the rate: one that was not seen before,
 * was seldom walked, or not for a second. Of these there are no more than the rate
 * has of the others, beside FRESH_WALKS. A call that has to wait for it stays new. */
static __always_inline bool owed(struct budget *b, struct call_walks *w, __u64 now)
{
	if (!w && b->fresh < FRESH_WALKS) {
		b->fresh++;
		return true;
	}
	if (w && w->walks >= FIRST_WALKS && now - w->last < SECOND)
		return false;
	if (b->owed >= cfg_stack_rate)
		return false;
	b->owed++;
	return true;
}

/* Whether the stack of a call is left out. Past the rate one in so many is walked,
 * by chance, so that no rhythm of the program can hide a call. */
static __always_inline bool spare(__u64 call)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u64 now = bpf_ktime_get_ns();
	struct call_walks first = { .last = now, .walks = 1 };
	struct call_walks *w;
	struct budget *b;
	__u32 share;

	if (!cfg_stack_rate)
		return false;
	b = budget_of(tgid, now);
	if (!b)
		return false;
	__sync_fetch_and_add(&b->calls, 1);
	share = b->calls / cfg_stack_rate + 1;
	if (share < b->share)
		share = b->share;
	w = bpf_map_lookup_elem(&calls_walked, &call);
	if (share > 1 && !owed(b, w, now) && bpf_get_prandom_u32() % share)
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
