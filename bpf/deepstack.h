/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Constants, records and maps of deepstack.bpf.c. */
#ifndef DEEPSTACK_H
#define DEEPSTACK_H

#include "profiler.h"
#include "record.h"
#include "usewalk.h"
#include <bpf/bpf_core_read.h>

#define PROT_EXEC 4

#define BPF_F_CURRENT_CPU 0xffffffffULL

CONFIG(__u32) cfg_self;	   /* our own process: has no stacks */
CONFIG(bool) cfg_scoped;	   /* only processes in scope */
CONFIG(bool) cfg_preempted; /* programs at system calls are, by one another */
CONFIG(bool) cfg_children;  /* and what they fork from now on */
CONFIG(__u64) cfg_fresh_ns; /* how long a stack counts as known */

CONFIG(__u32) cfg_record_calls;	/* u8: tail calls made */
CONFIG(__u32) cfg_record_pc;	/* u64: of the frame that comes next */
CONFIG(__u32) cfg_record_file;	/* u64: the file that is in */
CONFIG(__u32) cfg_record_offset; /* u64: and where in it */
CONFIG(__u32) cfg_record_done;	/* u32: bit mask of unwinders that are not to run again */
CONFIG(__u32) cfg_unwind_native; /* places in the profiler's prog array */
CONFIG(__u32) cfg_unwind_stop;

/* The profiler's code for a walk that used up the kernel's 33 tail calls. */
#define ERR_MAX_TAIL_CALLS 5
/* How often a walk is taken up again after that, each time by a program of its
 * own at the same tracepoint, which has 33 again. */
#define MAX_ROUNDS 3

/* What became of the stack of one socket, or of the two of a socketpair, or of a use
 * of one. */
enum deep_outcome {
	OUTCOME_WALKED = 1, /* stack says which it is */
	OUTCOME_UNKNOWN,    /* the profiler doesn't know the process yet */
};

struct deep_birth {
	__u64 time; /* ns of CLOCK_MONOTONIC */
	__u64 inode;
	__u64 stack; /* comes with the profiler's trace as its value */
	__u64 use;   /* time of the REC_USE that it is the stack of; 0: of the socket's birth */
	__u32 pid;
	__u32 tid;
	__u32 outcome;
	__u32 pad;
};
_Static_assert(sizeof(struct deep_birth) == 48, "deep_birth is part of the ABI");

enum deep_counter {
	DEEP_ASKED,	/* sockets, and uses of them, whose stack was asked for */
	DEEP_RING_FULL, /* of them, those that found no place in births */
	DEEP_REPEATED,	/* walked, and known already */
	DEEP_NOT_RUN,	/* the tail call into the profiler failed, or another walk had the CPU's record */
	DEEP_COUNTERS,
};

/* Where the profiler is called. */
enum deep_next {
	NEXT_UNWIND,
	NEXT_STOP,
	NEXT_COUNT,
};

/* inserted in: deep_stop, after_call, deep_use. read in: Go. Loss: DEEP_RING_FULL. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} births SEC(".maps");

/* enum deep_counter -> how often. inserted in: at load. read in: Go. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DEEP_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} deep_counters SEC(".maps");

/* Process id -> in scope.
 * inserted in: Go before attach, on_fork. deleted in: on_free. read in: here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, __u8);
} scope SEC(".maps");

/* Stack -> when Go had it (ns of CLOCK_MONOTONIC): it isn't sent again.
 * inserted in: Go, once the stack arrived, because it may not. deleted in: Go, and
 * by eviction. read in: deep_stop. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} known_stacks SEC(".maps");

/* enum deep_next -> program of the profiler. inserted in: Go before attach. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, NEXT_COUNT);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

/* The call whose stack is being walked on this CPU; inode 0: none. */
struct call {
	struct holder by; /* where cfg_preempted */
	__u64 inode;
	__u64 use;   /* see deep_birth */
	__u64 start; /* of the process */
	__u32 rounds;
	bool again; /* the walk is to be taken up again */
	bool sent;  /* the profiler has sent the stack, and who reads them sleeps */
};

/* inserted in: before_call, deep_use. deleted in: deep_stop, after_call, deep_use. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct call);
} walking SEC(".maps");

/* Threads that are in an mmap of code.
 * inserted in: enter_mmap. deleted in: exit_mmap, and by eviction. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} mapping_code SEC(".maps");

/* The profiler's own maps, bound to by name at load; see
 * support/ebpf/extmaps.h of its source for what they are. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 32 << 10);
} per_cpu_records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, __u32);
} perf_progs SEC(".maps");

/* Of the same size as the profiler's: traceRing in Go. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} trace_events SEC(".maps");

struct interpreter {
	__u64 lower1, upper1, lower2, upper2;
	__u16 unwinder;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32);
	__type(key, __u64);
	__type(value, struct interpreter);
} interpreter_offsets SEC(".maps");

/* Of ours besides: a process whose thread is 0 runs another program than before. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, bool);
} pid_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, bool);
} inhibit_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__type(key, int);
	__type(value, __u32);
} report_events SEC(".maps");

#endif
