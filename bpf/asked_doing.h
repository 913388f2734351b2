/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which function of libuv a thread is in. */
#ifndef ASKED_DOING_H
#define ASKED_DOING_H

#include "asked.h"

/* Words of the stack that are read at once. The stack of a BPF program is small, and
 * a map's room would be another's meanwhile: programs at uprobes can be preempted by
 * one another. */
#define PIECE 16

static __always_inline void count(enum ask_counter which)
{
	__u32 key = which;
	__u64 *n = bpf_map_lookup_elem(&ask_counters, &key);

	if (n)
		(*n)++;
}

#if defined(__TARGET_ARCH_x86)
#define PC(ctx) ((ctx)->ip)
#else
#define PC(ctx) ((ctx)->pc)
#endif

/* Where the function that was just entered returns to. */
static __always_inline __u64 returns_to(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	__u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)ctx->sp);
	return word;
#else
	return ctx->regs[30];
#endif
}

/* Reads words of a stack; false, and counted, if they can't be. */
static __always_inline bool read_words(__u64 *words, __u32 size, __u64 sp)
{
	if (!bpf_probe_read_user(words, size, (void *)sp))
		return true;
	count(ASK_UNREAD);
	return false;
}

#if defined(__TARGET_ARCH_x86)
/* Whether the return address of a frame is still where the call put it. */
static __always_inline bool returns_still(const struct doing *d, __u64 sp __attribute__((unused)))
{
	__u64 word = 0;

	return read_words(&word, sizeof(word), d->sp) && word == d->returns;
}
#else
/* The bits of an address that pointer authentication leaves alone. */
#define ADDRESS(word) ((word) & 0xffffffffffffULL)

/* Whether the return address of a frame is between the stack pointer and where
 * the function was entered: it came in a register, and the function put it where
 * it liked. */
static __always_inline bool returns_still(const struct doing *d, __u64 sp)
{
	__u32 size = d->sp - sp;
	__u64 words[PIECE] = {};

	for (__u32 at = 0; at < MAX_DEPTH && at < size; at += sizeof(words)) {
		__u32 part = size - at;

		if (part > sizeof(words))
			part = sizeof(words);
		if (!read_words(words, part, sp + at))
			return false;
		for (__u32 i = 0; i < PIECE; i++) {
			if (i < part / 8 && ADDRESS(words[i]) == ADDRESS(d->returns))
				return true;
		}
	}
	return false;
}
#endif

/* Whether a thread whose stack pointer is sp is still in the function that it was
 * seen to enter. What is called after the function returned overwrites its
 * return address, or is further away. */
static __always_inline bool inside(const struct doing *d, __u64 sp)
{
	return d->handle && sp <= d->sp && d->sp - sp <= MAX_DEPTH && returns_still(d, sp);
}

static __always_inline struct doing *current_doing(void)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct doing *d = bpf_map_lookup_elem(&threads, &tid);
	struct doing none = {};

	if (d)
		return d;
	bpf_map_update_elem(&threads, &tid, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&threads, &tid);
}

#endif
