/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which function of libuv a thread is in. */
#ifndef ASKED_DOING_H
#define ASKED_DOING_H

#include "asked.h"

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

#if defined(__TARGET_ARCH_x86)
/* Whether the return address of a frame is still where the call put it. */
static __always_inline bool returns_still(const struct doing *d, __u64 sp __attribute__((unused)))
{
	__u64 word = 0;

	return !bpf_probe_read_user(&word, sizeof(word), (void *)d->sp) && word == d->returns;
}
#else
/* The bits of an address that pointer authentication leaves alone. */
#define ADDRESS(word) ((word) & 0xffffffffffffULL)

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, MAX_DEPTH);
} stack_room SEC(".maps");

/* Whether the return address of a frame is between the stack pointer and where
 * the function was entered: it came in a register, and the function put it where
 * it liked. */
static __always_inline bool returns_still(const struct doing *d, __u64 sp)
{
	__u32 zero = 0, size = d->sp - sp;
	__u64 *words = bpf_map_lookup_elem(&stack_room, &zero);

	if (!words || size > MAX_DEPTH || bpf_probe_read_user(words, size, (void *)sp))
		return false;
	for (__u32 i = 0; i < MAX_DEPTH / 8; i++) {
		if (i >= size / 8)
			break;
		if (ADDRESS(words[i]) == ADDRESS(d->returns))
			return true;
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
