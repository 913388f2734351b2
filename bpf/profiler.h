/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What programs that run the profiler's unwinder know of it: its per-CPU record,
 * and which processes it has read. */
#ifndef PROFILER_H
#define PROFILER_H

#include "mix.h"

enum {
	BPF_MAP_TYPE_PERF_EVENT_ARRAY = 4,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_F_NO_PREALLOC = 1,
};

/* Set before load, frozen then. Not in .rodata: the profiler has a map of that
 * name, and maps are bound to it by name. */
#define CONFIG(type) const volatile type __attribute__((section(".rodata.deep")))

/* Where things are in the profiler's per-CPU record, read at load from the BTF of
 * its object. */
CONFIG(__u32) cfg_record_length; /* u16: words in the frame data; kernel addresses come first */
CONFIG(__u32) cfg_record_value;	/* u64: ours to set, comes with the trace */
CONFIG(__u32) cfg_record_frames; /* u64[]: the frame data */
CONFIG(__u32) cfg_record_error;	/* u32: why the unwinding was aborted */

/* The profiler's own map, bound to by name at load; see support/ebpf/extmaps.h of
 * its source for what it is. */
struct page {
	__u32 prefix; /* bits */
	__be32 pid;
	__u64 address; /* big endian */
};

struct page_info {
	__u64 file;
	__u64 bias_and_unwinder; /* the unwinder in the highest byte */
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct page);
	__type(value, struct page_info);
} pid_page_to_mapping_info SEC(".maps");

/* Whether the profiler has read the acting process. */
static __always_inline bool profiled(void)
{
	struct page page = {.prefix = 96, .pid = __builtin_bswap32(bpf_get_current_pid_tgid() >> 32)};

	return bpf_map_lookup_elem(&pid_page_to_mapping_info, &page);
}

/* No stack is longer in the profiler's record. */
#define MAX_WORDS 3072

/* The stack as the profiler has it: what it is, not where it was taken. Of two
 * processes with the same frames each has its own, because an address of an
 * interpreted function means something else in each. */
static __always_inline __u64 stack_id(void *record, __u64 start)
{
	__u64 *frame = record + cfg_record_frames;
	__u32 words = *(__u16 *)(record + cfg_record_length);
	__u64 hash = mix(start, bpf_get_current_pid_tgid() >> 32);

	hash = mix(hash, *(__u32 *)(record + cfg_record_error));
	for (__u32 i = 0; i < MAX_WORDS; i++) {
		if (i >= words)
			break;
		hash = mix(hash, frame[i]);
	}
	return hash ? hash : 1;
}

#endif
