/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What who sends the use of a socket tells who walks its stack after that. */
#ifndef USEWALK_H
#define USEWALK_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/* Names a REC_USE: a thread makes no two at one time. */
struct use_walk {
	__u64 inode;
	__u64 time; /* the event's */
	__u64 tid;  /* whose stack it is on */
};

/* The use that was sent last on this CPU.
 * inserted in: uses.h. deleted in: never, it counts only for what is tail-called
 * right after. read in: deepstack.bpf.c, if Go gives it the map. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct use_walk);
} use_walks SEC(".maps");

#endif
