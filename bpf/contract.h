/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the kernel side hands to the Go side. The Go types are generated from
 * these, so a change here is a change of the recording format: raise
 * probe.ABI. Widths are fixed, padding is explicit. */
#ifndef CONTRACT_H
#define CONTRACT_H

#include "vmlinux.h"

enum record_kind {
	REC_SOCKET = 1,
	REC_PAIR,
	REC_ACCEPT,
	REC_CONNECT,
	REC_CLOSE,
	REC_CLOSE_RANGE,
	REC_DUP,
	REC_TCP_STATE,
	REC_TCP_DESTROY,
	REC_FORK,
	REC_EXEC,
	REC_EXEC_FDS,
	REC_EXIT,
	REC_TABLE_EXIT,
	REC_UNSHARE,
	REC_STACK,
	REC_USE,
};

/* What a socket is. Addresses hold AF_INET in their first four bytes. */
struct sock_desc {
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u8 state;
	__u8 pad;
	__u16 local_port;  /* host order */
	__u16 remote_port; /* host order */
	__u8 pad2[4];
	__u8 local[16];
	__u8 remote[16];
};
_Static_assert(sizeof(struct sock_desc) == 48, "sock_desc is part of the ABI");

enum event_flag {
	FLAG_CLOEXEC = 1,
	FLAG_ALONE = 2,
	FLAG_SPARED = 4,
};

/* What was done to a socket, of a REC_USE. */
enum use_op {
	USE_READ = 1,
	USE_WRITE,
	USE_SHUTDOWN,
	USE_EPOLL_DEL,
	USE_SO_ERROR,
};

/* One lifecycle event; internal/event documents which kind sets what. Of the kinds
 * that there are most of only a part is sent, so what they have comes first. */
struct event {
	__u32 kind;
	__u32 pid;
	__u64 time;
	__u64 start;
	__u64 table;
	__u64 inode;
	__u32 tid;
	__s32 fd;
	__s32 err; /* positive errno */
	__u8 old_state;
	__u8 flags;
	__u8 op; /* enum use_op */
	__u8 pad;
	__u64 stack;
	__u64 call; /* see callid.h */
	__u64 walk; /* enum walk, or what the copy or the steps say; see copy.h */
	char comm[16];
	char thread[16]; /* name of the acting thread, of a birth */
	struct sock_desc sock;
	__u64 inode2;
	__u64 table2;
	__u64 begin;
	__u64 child_start;
	__u32 child_pid;
	__s32 fd2;
};
_Static_assert(sizeof(struct event) == 200, "event is part of the ABI");

/* How much is sent of some kinds: what comes after it is zero. Each byte is written
 * here, carried to another CPU and read there. */
enum event_size {
	SIZE_TCP_DESTROY = 40,
	SIZE_CLOSE = 48,
	SIZE_SOCKET = 128,
	SIZE_TCP_STATE = 160,
};
_Static_assert(SIZE_TCP_DESTROY == __builtin_offsetof(struct event, tid), "up to the inode");
_Static_assert(SIZE_CLOSE == __builtin_offsetof(struct event, err), "up to the fd");
_Static_assert(SIZE_SOCKET == __builtin_offsetof(struct event, sock.local), "all but addresses");
_Static_assert(SIZE_TCP_STATE == __builtin_offsetof(struct event, inode2), "up to the sock");

#define EXEC_FDS_WORDS 64

/* Descriptors open after an exec: a bitmap that starts at first. */
struct exec_fds {
	__u32 kind;
	__u32 pid;
	__u64 time;
	__u64 start;
	__u64 table;
	__u32 first;
	__u32 count; /* bits that are valid; a multiple of 64 */
	__u64 open[EXEC_FDS_WORDS];
};
_Static_assert(sizeof(struct exec_fds) == 40 + 8 * EXEC_FDS_WORDS, "exec_fds is part of the ABI");

/* PERF_MAX_STACK_DEPTH of include/uapi/linux/perf_event.h. */
#define STACK_DEPTH 127

/* A user stack that was not sent before; only depth entries follow. */
struct stack_record {
	__u32 kind;
	__u32 pid;
	__u64 time;
	__u64 start;
	__u64 id;
	__u64 caller; /* return address of a function without a frame, or 0 */
	__u32 depth;
	__u32 pad;
	__u64 ip[STACK_DEPTH];
};
_Static_assert(sizeof(struct stack_record) == 48 + 8 * STACK_DEPTH, "stack_record is part of the ABI");

#define COPY_BYTES 8192

/* What an event has in place of the number of a walk. */
enum walk {
	WALK_NONE,	  /* no copy was wanted */
	WALK_LOST,	  /* it found no place in the ring */
	WALK_SPARED,	  /* the process has had its share */
	WALK_NUMBERS = 16, /* from here on they are numbers */
};

/* Registers and a piece of the user stack, from which the stack is walked later.
 * Only size bytes are valid. */
struct stack_copy {
	__u32 pid;
	__u32 size;
	__u64 start;
	__u64 id;   /* the event's walk */
	__u64 seed; /* of the steps, see copy.h */
	__u64 pc;
	__u64 sp;
	__u64 fp;
	__u64 lr;   /* arm64; 0 on amd64 */
	__u64 base; /* address of the first byte */
	__u8 bytes[COPY_BYTES];
};
_Static_assert(sizeof(struct stack_copy) == 72 + COPY_BYTES, "stack_copy is part of the ABI");

/* What a walk of the stack does next: enum step, else it reads the word that many
 * bytes above the base of the copy. */
enum step {
	STEP_END = 0x10000, /* nothing: the stack is known */
	STEP_FP,	     /* it uses the frame pointer as it was */
	STEP_LR,	     /* and so the link register */
};

enum step_limit {
	MAX_STEPS = 128, /* of a chain; a stack with more is copied each time */
	WALK_SETS = 8192, /* of WALK_WAYS steps, see copy.h; 1 MB */
	WALK_WAYS = 8,
};

enum row_flag {
	ROW_BEGUN = 1 << 0,
	ROW_WAS_ESTABLISHED = 1 << 1,
	ROW_BOUND = 1 << 2,
	ROW_KEEPALIVE = 1 << 3,
	ROW_CLOEXEC = 1 << 4,
	ROW_WAITERS = 1 << 5,
	ROW_RCV_SHUTDOWN = 1 << 6,
	ROW_SND_SHUTDOWN = 1 << 7,
	ROW_PEER_GONE = 1 << 8,
	ROW_THREAD = 1 << 9, /* the table of a thread, not of its process's first */
};

/* Groups of facts, as event.FactSet has them. */
enum row_known {
	KNOWN_QUEUES = 1 << 0,
	KNOWN_ACTIVITY = 1 << 1,
	KNOWN_BYTES = 1 << 2,
	KNOWN_HISTORY = 1 << 3,
	KNOWN_WAITERS = 1 << 4,
	KNOWN_KEEPALIVE = 1 << 5,
	KNOWN_BOUND = 1 << 6,
	KNOWN_DESCRIPTOR = 1 << 7,
	KNOWN_DELIVERY = 1 << 8,
	KNOWN_PEER = 1 << 9,
};

/* One descriptor of one process that refers to a socket. After it come the
 * names of an AF_UNIX socket and of its peer, without sun_family. */
struct row {
	__u64 time;
	__u64 start;
	__u64 table;
	__u64 inode;
	__u64 peer_inode;
	__u64 bytes_in;
	__u64 bytes_out;
	__u32 pid;
	__s32 fd;
	__u32 recv_q;
	__u32 send_q;
	__u32 last_rx; /* jiffies ago */
	__u32 last_tx; /* jiffies ago */
	__s32 err;
	__u16 flags;
	__u16 known;
	__u32 netns;
	__u32 unacked;
	__u8 retransmits;
	__u8 probes;
	__u8 local_name; /* bytes */
	__u8 remote_name;
	__u8 pad[4];
	struct sock_desc sock;
	char comm[16];
};
_Static_assert(sizeof(struct row) == 168, "row is part of the ABI");

enum counter {
	COUNT_RING_FULL,
	COUNT_MAP_FULL,
	COUNT_STACK_MISSING,
	COUNT_UNFOLLOWED, /* TCP sockets whose states find no place in tcp_socks */
	COUNT_TAKEN_OVER, /* births that the second exit_socket sent */
	COUNTERS,
};

#endif
