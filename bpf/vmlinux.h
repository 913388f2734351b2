/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The kernel types sockleak reads, and of each only the fields it reads. CO-RE
 * relocates every access to the running kernel's layout, so order and size
 * here mean nothing; names and signedness do. */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;

typedef __u8 u8;
typedef __u16 u16;
typedef __s32 s32;
typedef __u32 u32;
typedef __u64 u64;

typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u16 __sum16;
typedef __u32 __wsum;

enum {
	false = 0,
	true = 1,
};
typedef _Bool bool;

/* The map and flag numbers of include/uapi/linux/bpf.h. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_USER_STACK = 256,
	BPF_F_MMAPABLE = 1024,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

/* What kind of file an inode is: include/uapi/linux/stat.h. */
#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* Only asked whether they exist: in 5.11 and 5.15. */
enum bpf_func_id {
	BPF_FUNC_get_current_task_btf = 158,
	BPF_FUNC_task_pt_regs = 175,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

struct list_head {
	struct list_head *next;
};

struct wait_queue_head {
	struct list_head head;
};
typedef struct wait_queue_head wait_queue_head_t;

struct inode {
	u16 i_mode;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
	unsigned long *close_on_exec;
	unsigned long *open_fds;
};

struct files_struct {
	atomic_t count;
	struct fdtable *fdt;
};

struct signal_struct {
	atomic_t live;
	int nr_threads;
};

/* Of the program that was executed: not its libraries. */
struct mm_struct {
	unsigned long start_code;
	unsigned long end_code;
};

struct task_struct {
	void *stack;
	struct mm_struct *mm;
	int pid;
	int tgid;
	struct task_struct *group_leader;
	u64 start_boottime; /* since 5.5 (cf25e24db61c), real_start_time before */
	char comm[16];
	struct files_struct *files;
	struct signal_struct *signal;
	unsigned long nvcsw;
	unsigned long nivcsw;
	u64 self_exec_id; /* u32 before 5.7 (d1e7fd6462ca) */
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long ax;
	unsigned long bp;
	unsigned long di;
	unsigned long si;
	unsigned long dx;
	unsigned long r10;
	unsigned long r14;
	unsigned long ip;
	unsigned long sp;
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31];
	u64 sp;
	u64 pc;
	u64 orig_x0;
};
#else
#error "sockleak reads registers on amd64 and arm64 only"
#endif

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	__u64 skc_addrpair; /* skc_daddr, then skc_rcv_saddr */
	__u32 skc_portpair; /* skc_dport in network order, then skc_num */
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	unsigned long skc_flags;
};

struct socket_wq {
	wait_queue_head_t wait;
};

struct sock {
	struct sock_common __sk_common;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	struct socket_wq *sk_wq;
	u8 sk_shutdown;
	u16 sk_type;
	u16 sk_protocol;
	int sk_err;
	u32 sk_ack_backlog;
	u32 sk_max_ack_backlog;
	struct socket *sk_socket;
};

struct socket {
	int state; /* enum socket_state: SS_* */
	short type;
	struct file *file;
	struct sock *sk;
};

struct inet_connection_sock {
	__u8 icsk_retransmits;
	__u8 icsk_probes_out;
	struct {
		__u32 lrcvtime;
	} icsk_ack;
};

struct tcp_sock {
	u32 rcv_nxt;
	u32 copied_seq;
	u32 snd_una;
	u32 snd_nxt;
	u32 write_seq;
	u32 lsndtime;
	u64 bytes_received;
	u64 bytes_sent;
	u64 bytes_retrans;
};

/* In kernels since 5.6; bytes_received since 6.5 (38967f424b5b), last_data_recv
 * since 6.10 (18d82cde7432), before 5.11 snd_una is atomic. */
struct mptcp_sock {
	u64 write_seq;
	u64 snd_una;
	u64 bytes_sent;
	u64 bytes_retrans;
	u64 bytes_received;
	u32 last_data_sent;
	u32 last_data_recv;
};

struct unix_address {
	int len; /* of name, with its sun_family */
	char name[0]; /* struct sockaddr_un */
};

struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};

/* Iterator contexts are not relocated: this is the layout of
 * kernel/bpf/task_iter.c, every member aligned to eight bytes. */
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd __attribute__((aligned(8)));
	struct file *file __attribute__((aligned(8)));
};

#pragma clang attribute pop

/* Contexts of the syscall tracepoints: tracefs, events/syscalls/<name>/format. nr was a
 * long, and what follows it isn't written since (kernel/trace/trace_syscalls.c, d3c4db86c711). */
struct sys_enter_ctx {
	u64 common;
	int nr;
	unsigned long args[6];
};

struct sys_exit_ctx {
	u64 common;
	int nr;
	long ret;
};

#endif
