/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A copy of the registers and of a piece of the user stack, for the walk by unwind
 * tables in Go. It costs more than all else together, so a stack that was walked
 * before is known again by what the walk read.
 *
 * A walk is determined by the registers it begins with and the words it reads: if
 * they are the same, so is the stack. The walk in Go leaves what it did as a chain
 * of steps, each under the hash of all that came before it: the process, its
 * program, pc and sp, then word after word. Here the chain is followed, reading
 * the same words, until it ends, and the stack is known, or breaks off, and a copy
 * is taken. Nothing else on the stack matters, so locals may change. */
#ifndef COPY_H
#define COPY_H

#include "stack.h"

/* What lies below sp may still be in use (amd64's red zone, System V ABI 3.2.2). */
#define RED_ZONE 128

/* The copy begins at a multiple of this, so that no part of that size crosses a
 * page. */
#define COPY_PART 512

/* A process that maps other code where this was is taken for the same no longer
 * than this, in s. */
#define STEP_FRESH 60

/* How long Go may take to walk a copy, in ns. */
#define COPY_WAIT 1000000000

/* The time that cfg_copy_rate is for, in ns. */
#define COPY_WINDOW 250000000

/* A step of a walk. Written and read in no order that either side can count on, so
 * one that was half replaced has to be told: it fits no hash. */
struct walk_step {
	__u64 check; /* hash of what came before, xor what */
	__u64 what;  /* enum step; in the upper half when it was put here, s of CLOCK_MONOTONIC; 0: none */
};

/* Where the step can be that has a hash. */
struct walk_set {
	struct walk_step way[WALK_WAYS];
};

/* The steps, by the lowest bits of the hash. Of a set that is full the oldest goes
 * first; a stack that breaks off for it is copied again. Go writes it as memory,
 * because while bpf(2) writes a map the kernel runs no tracepoint's program for
 * whoever gets that CPU meanwhile (bpf_disable_instrumentation), and a new stack is a
 * dozen steps and more.
 * inserted in: Go, after the walk. deleted in: Go, when it lets go of the stack, and
 * where a newer one takes its place. read in: here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WALK_SETS);
	__type(key, __u32);
	__type(value, struct walk_set);
} walk_steps SEC(".maps");

/* Copies of stacks. The event that needs one comes after it, in a ring of its
 * own, which no copy can fill.
 * inserted in: here. read in: the Go consumer. Loss: the event says WALK_LOST.
 * The size is set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} copies SEC(".maps");

struct copy_share {
	__u64 since;
	__u32 taken;
};

/* Process id -> copies in this COPY_WINDOW.
 * inserted in: here. deleted in: by eviction. read in: here. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct copy_share);
} copy_shares SEC(".maps");

/* Copy -> when it was sent, in ns of CLOCK_MONOTONIC. Until Go has walked it, the
 * same copy isn't sent again.
 * inserted in: here. deleted in: by eviction. read in: here. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} copies_sent SEC(".maps");

/* Whether the process may have one more copy now. */
static __always_inline bool may_copy(__u32 tgid, __u64 now)
{
	struct copy_share *share = bpf_map_lookup_elem(&copy_shares, &tgid);

	return !share || now - share->since >= COPY_WINDOW || share->taken < cfg_copy_rate;
}

/* Counts a copy that was sent. Threads that do so at the same time may count one
 * too few. */
static __always_inline void count_copy(__u32 tgid, __u64 now)
{
	struct copy_share *share = bpf_map_lookup_elem(&copy_shares, &tgid);
	struct copy_share first = { .since = now, .taken = 1 };

	if (share && now - share->since < COPY_WINDOW)
		share->taken++;
	else
		bpf_map_update_elem(&copy_shares, &tgid, &first, BPF_ANY);
}

/* What follows what has this hash, as in struct walk_step. */
static __always_inline __u64 find_step(__u64 hash)
{
	__u32 which = hash % WALK_SETS;
	struct walk_set *set = bpf_map_lookup_elem(&walk_steps, &which);

	if (!set)
		return 0;
#pragma unroll
	for (int i = 0; i < WALK_WAYS; i++) {
		__u64 what = set->way[i].what;

		if ((set->way[i].check ^ what) == hash)
			return what;
	}
	return 0;
}

/* Follows the chain of a walk that was made before; 0 if it breaks off. */
static __always_inline __u64 known_walk(__u64 hash, const struct user_frame *f, __u64 base, __u64 now)
{
	for (int i = 0; i <= MAX_STEPS; i++) {
		__u64 what = find_step(hash), word;

		if (!what)
			return 0;
		switch ((__u32)what) {
		case STEP_END:
			return now / 1000000000 - (what >> 32) < STEP_FRESH ? hash : 0;
		case STEP_FP:
			word = f->fp;
			break;
		case STEP_LR:
			word = f->lr;
			break;
		default:
			if (bpf_probe_read_user(&word, sizeof(word), (void *)(base + (__u32)what)))
				return 0;
		}
		hash = mix(hash, word);
	}
	return 0;
}

/* Copies the stack from base on as far as it is there. At the top of the stack there
 * is nothing any more, and a page may be swapped out. Below sp there may be nothing
 * yet: a program that never had a deeper stack has not touched that page, and there
 * is nothing in its red zone, which is all zero in the copy then. */
static __always_inline __u32 copy_stack(__u8 *to, __u64 base, __u64 sp)
{
	if (!bpf_probe_read_user(to, COPY_BYTES, (void *)base))
		return COPY_BYTES;
#pragma unroll
	for (int i = 0; i < COPY_BYTES; i += COPY_PART) {
		if (bpf_probe_read_user(to + i, COPY_PART, (void *)(base + i)) && base + i + COPY_PART > sp)
			return i;
	}
	return COPY_BYTES;
}

/* What a copy is: its number covers all that is in it. */
static __always_inline __u64 copy_id(const struct stack_copy *c)
{
	const __u64 *word = (const __u64 *)c->bytes;
	__u64 hash = mix(mix(mix(c->seed, c->fp), c->lr), c->size);

	/* Of no value that the verifier knows: it would go through the loop for each one
	 * that copy_stack can return. */
	__u32 parts = *(volatile const __u32 *)&c->size / COPY_PART;

	for (__u32 part = 0; part < COPY_BYTES / COPY_PART; part++) {
		if (part >= parts)
			break;
		for (__u32 i = 0; i < COPY_PART / 8; i++)
			hash = mix(hash, *word++);
	}
	return hash | WALK_NUMBERS;
}

/* Takes a copy, sends it unless the same was sent just now, and returns its
 * number. */
static __always_inline __u64 send_copy(__u64 start, __u64 seed, const struct user_frame *f, __u64 base, __u64 now)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct stack_copy *c;
	__u64 id, *sent;

	if (!may_copy(tgid, now))
		return WALK_SPARED;
	c = bpf_ringbuf_reserve(&copies, sizeof(*c), 0);
	if (!c)
		return WALK_LOST;
	c->pid = tgid;
	c->start = start;
	c->seed = seed;
	c->pc = f->pc;
	c->sp = f->sp;
	c->fp = f->fp;
	c->lr = f->lr;
	c->base = base;
	c->size = copy_stack(c->bytes, base, f->sp);
	id = copy_id(c);
	c->id = id;
	sent = bpf_map_lookup_elem(&copies_sent, &id);
	if (sent && now - *sent < COPY_WAIT) {
		bpf_ringbuf_discard(c, BPF_RB_NO_WAKEUP);
		return id;
	}
	bpf_ringbuf_submit(c, BPF_RB_NO_WAKEUP);
	count_copy(tgid, now);
	bpf_map_update_elem(&copies_sent, &id, &now, BPF_ANY);
	return id;
}

/* Returns which walk the acting task's stack is, and sends a copy of it unless that
 * walk was made before. start is when the process began, now is in ns of
 * CLOCK_MONOTONIC. */
static __always_inline __u64 take_copy(__u64 start, __u64 now)
{
	struct task_struct *task = current_task();
	__u64 seed, known, base;
	struct user_frame f;

	if (!cfg_copies)
		return WALK_NONE;
	f = innermost_frame(user_regs(task));
	base = (f.sp - RED_ZONE) & ~(__u64)(COPY_PART - 1);
	seed = mix(mix(start, bpf_get_current_pid_tgid() >> 32), BPF_CORE_READ(task, self_exec_id));
	seed = mix(mix(seed, f.pc), f.sp);
	known = known_walk(seed, &f, base, now);
	return known ? known : send_copy(start, seed, &f, base, now);
}

#endif
