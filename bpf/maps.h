/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef MAPS_H
#define MAPS_H

#include <bpf/bpf_helpers.h>
#include "contract.h"
#include "scope.h"

/* Set before load, frozen then: the verifier drops the branches not taken. */
const volatile __u64 cfg_secret[2]; /* hides kernel addresses, see table_id */
const volatile bool cfg_stacks;     /* take user stacks at creation */
const volatile __u32 cfg_stack_rate; /* so many of a process in a second, 0: all */
const volatile bool cfg_copies;     /* and copies of them */
const volatile bool cfg_twice;      /* exit_socket is attached twice, see create.h */
const volatile bool cfg_spare;      /* and this is the second of the two */
const volatile __u32 cfg_copy_rate; /* the most of a process in COPY_WINDOW */

/* Everything that happened, in order.
 * inserted in: every handler. read in: the Go consumer. Loss is counted in
 * counters[COUNT_RING_FULL]. The size is set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

/* enum counter -> how often. Go reads it several times a second, as memory: while a map
 * is read by bpf(2) the kernel runs no tracepoint's program for whoever gets that CPU
 * meanwhile (bpf_disable_instrumentation).
 * inserted in: at load. read in: the Go consumer. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

struct last_target {
	__u64 start;
	__u32 tgid;
	__u32 pad;
};

/* The process of targets that acted last on this CPU.
 * inserted in: task.h. deleted in: never, no other process has both its number and
 * its start. read in: task.h. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct last_target);
} last_target SEC(".maps");

/* What a system call found when it was entered. */
struct call {
	__u64 begin;
	__u64 table;
	__u64 inode;
};

/* Thread id -> the call it is in, of those whose entry must be remembered.
 * inserted in: call.h at entry. deleted in: call.h at return, process.h when the
 * thread exits in mid-call. read in: descriptor.h, process.h. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

/* struct sock of a TCP socket in scope that has a connection, or had, or listens -> its
 * inode number. A sock outlives its file, changes state outside any process and its
 * address is reused, so this is how its states find their socket.
 * inserted in: tcp.h when it begins to connect or to listen, create.h when it is
 * accepted, snapshot.h. deleted in: tcp.h when the kernel destroys the sock. read in:
 * tcp.h. The size is set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, __u64);
	__type(value, __u64);
} tcp_socks SEC(".maps");

#define BIRTHS_SENT 16384

/* Remainder of a thread id -> inode number of the socket whose birth was sent last.
 * inserted in: create.h, where cfg_twice. deleted in: never. read in: create.h. The size
 * is set at load. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BIRTHS_SENT);
	__type(key, __u32);
	__type(value, __u64);
} births_sent SEC(".maps");

/* Stack id -> was sent. Least recently used ones go first; a stack that went is
 * sent again when it is seen again.
 * inserted in: stack.h. deleted in: by eviction. read in: stack.h. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u8);
} stacks_sent SEC(".maps");

/* Who walks the stack of a socket that was just made. */
enum walker {
	WALKER_RESULT, /* the call returns the descriptor */
	WALKER_PAIR,   /* socketpair */
	WALKERS,
};

/* The walk that is wanted on this CPU.
 * inserted in: create.h. deleted in: create.h, by who walks. read in: create.h. */
struct wanted_walk {
	__u32 tid; /* for this thread; 0: none */
	__u32 walker;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wanted_walk);
} wanted_walks SEC(".maps");

/* enum walker -> program of tier 1, tail-called behind on_birth.
 * inserted in: Go, when tier 1 has come up. deleted in: Go. read in: create.h. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, WALKERS);
	__type(key, __u32);
	__type(value, __u32);
} walkers SEC(".maps");

/* Room for a stack record, too large for the BPF stack.
 * inserted in: at load. read in: stack.h, create.h, by programs that are held: see
 * hold.h. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stack_record);
} stack_room SEC(".maps");

static __always_inline void count(enum counter which)
{
	__u32 key = which;
	__u64 *n = bpf_map_lookup_elem(&counters, &key);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* Room for a record of the given size in the ring, or NULL and counted. */
static __always_inline void *reserve(__u64 size)
{
	void *room = bpf_ringbuf_reserve(&events, size, 0);

	if (!room)
		count(COUNT_RING_FULL);
	return room;
}

/* No wakeup: the consumer looks by itself several times a second, and a wakeup
 * costs ten times what the record does. */
static __always_inline void submit(void *record)
{
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

#endif
