/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What tells one call from another without a walk: the instruction it was made by,
 * where that returns to, how deep the stack is, and which functions of the program
 * are near. Calls that differ further out only may be alike, so an origin is never
 * concluded from it alone: see internal/verdict/calls.go. */
#ifndef CALLID_H
#define CALLID_H

#include "mix.h"

/* Of the stack pointer only what is the same in every thread: stacks begin at a
 * page, those of goroutines at a multiple of 2 KiB (runtime/stack.go). */
#define STACK_OFFSET 0x7ff

/* How many words of the stack are looked at for return addresses. */
#define NEAR_WORDS 64

/* From where a call was made. */
struct call_site {
	__u64 pc;
	__u64 sp;
	__u64 link; /* arm64: where it returns to */
	__u64 begin, end; /* of the program's own code, without its libraries */
	__u64 exec;	  /* number of the program the process runs */
};

/* start is when the process started. */
static __always_inline __u64 mix_site(const struct call_site *c, __u64 start)
{
	__u64 hash = mix(mix(start, bpf_get_current_pid_tgid() >> 32), c->exec);

	return mix(mix(mix(hash, c->pc), c->link), c->sp & STACK_OFFSET);
}

/* Those of the words of a stack that point into the program's own code: with or
 * without frame pointers, that is the return addresses, and at worst one that is
 * left over from another call, which makes two of one call. */
static __always_inline __u64 mix_words(__u64 hash, const struct call_site *c, const __u64 *words, int n)
{
	__u64 size = c->end - c->begin;

	for (int i = 0; i < n; i++) {
		if (words[i] - c->begin < size)
			hash = mix(hash, words[i]);
	}
	return hash;
}

#endif
