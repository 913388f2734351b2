/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Constants, records and maps of asked.bpf.c. */
#ifndef ASKED_H
#define ASKED_H

#include "profiler.h"
#include "record.h"
#include <bpf/bpf_core_read.h>

CONFIG(__u64) cfg_fresh_ns;   /* how long a stack counts as known */
CONFIG(__u32) cfg_stack_rate; /* as in maps.h: stacks of a process in a second, 0: all */

/* How far below the frame of a libuv function its socket(2) can be, in bytes:
 * uv_tcp_connect and what it calls take some 600. */
#define MAX_DEPTH 2048

/* How long after accept(2) the handle that is made next is the one for what was
 * accepted: libuv calls the program back at once. */
#define ACCEPT_NS 10000000ULL

/* A handle's own stack, and those of the handles that it was put in the place of. */
#define ASK_STACKS 4

/* How it is known who asked for a socket. */
enum ask_via {
	VIA_LIBUV = 1, /* the stack where the handle was made */
	VIA_GO,	       /* the go statement; stacks[0] is where it returns to */
};

/* A socket, and where the program asked for it. */
struct ask {
	__u64 time; /* ns of CLOCK_MONOTONIC */
	__u64 inode;
	__u64 stacks[ASK_STACKS]; /* of the profiler, but see VIA_GO; zero: none */
	__u64 calls[ASK_STACKS];  /* that made the handles, see callid.h; zero: not known */
	__u32 pid;
	__u32 tid;
	__u32 via;    /* enum ask_via */
	__u32 spared; /* bit mask of stacks that were left out */
};
_Static_assert(sizeof(struct ask) == 96, "ask is part of the ABI");

enum ask_counter {
	ASK_HANDLES,	  /* handles whose stack was asked for */
	ASK_HANDLES_FULL, /* of them, those that found no place */
	ASK_UNKNOWN,	  /* of them, those of processes the profiler didn't know yet */
	ASK_SPARED,	  /* of them, those left out to stay within the budget */
	ASK_BUSY,	  /* of them, those made while another walk held the CPU's record */
	ASK_NOT_RUN,	  /* of them, those for which the unwinder could not be called */
	ASK_UNREAD,	  /* times that a stack could not be read to see what a thread is in */
	ASK_RING_FULL,	  /* sockets that found no place in asks */
	ASK_COUNTERS,
};

/* Where the profiler is called. */
enum ask_next {
	ASK_UNWIND,
	ASK_SEND,
	ASK_NEXTS,
};

/* inserted in: ask_socket. read in: Go. Loss: ASK_RING_FULL. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} asks SEC(".maps");

/* enum ask_counter -> how often. inserted in: at load. read in: Go. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ASK_COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} ask_counters SEC(".maps");

/* Process id -> is followed: by uprobes, or without if it is of Go.
 * inserted in: Go, before uprobes are attached. deleted in: Go, after they were
 * detached. read in: the tracepoints. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} attached SEC(".maps");

/* Where things are in Go's runtime, in bytes: src/runtime/runtime2.go of the
 * version that the program was built with. */
struct go_layout {
	__u32 g_m;
	__u32 m_curg;
	__u32 g_gopc;
};

/* Process id of a Go program -> its runtime.
 * inserted in: Go, when it is seen. deleted in: Go, when it ends. read in:
 * ask_socket. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct go_layout);
} go_programs SEC(".maps");

struct handle_key {
	__u64 address;
	__u32 tgid;
	__u32 pad;
};

struct handle {
	__u64 stacks[ASK_STACKS];
	__u64 calls[ASK_STACKS];
	__u32 spared; /* as in struct ask */
	__u32 pad;
};

/* A handle that lives -> where it was made. An address that is used again is
 * written anew, because every handle begins with init.
 * inserted in: made. deleted in: ask_close, ask_accepted, and Go when the process
 * ends. read in: ask_socket. Loss: ASK_HANDLES_FULL. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct handle_key);
	__type(value, struct handle);
} handles SEC(".maps");

/* What a thread does: it is in a function of libuv as long as the frame of that
 * is there, see inside. */
struct doing {
	__u64 handle;	/* that the function was called with; zero: none */
	__u64 sp;	/* where it was entered */
	__u64 returns;	/* its return address */
	__u64 accepted; /* when accept(2) returned last; zero: its handle was made */
	__u64 newest;	/* the handle that was made last, until another call */
	bool init;	/* the function makes the handle */
};

/* Thread id -> what it does.
 * inserted in: all uprobes, ask_accept. deleted in: by eviction. A thread that
 * gives way to another one inside of a libuv function is no loss in practice:
 * 8,192 others would have to enter one meanwhile. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct doing);
} threads SEC(".maps");

/* The walk that has the profiler's record of this CPU: programs at uprobes can
 * be preempted by one another. */
struct walk {
	struct holder by;
	__u64 start; /* of the process */
	struct handle_key handle;
};

/* inserted in: walk_stack. deleted in: ask_stop, and by time. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} walks SEC(".maps");

/* enum ask_next -> program of the profiler. inserted in: Go before attach. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, ASK_NEXTS);
	__type(key, __u32);
	__type(value, __u32);
} ask_nexts SEC(".maps");

/* The profiler's record for programs of kprobe type. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 32 << 10);
} per_cpu_records_kp SEC(".maps");

/* Of deepstack.h, shared with it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u64);
} known_stacks SEC(".maps");

#endif
