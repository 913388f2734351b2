// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The files of sockets from their making to their release, whoever has
 * descriptors for them, and whether there are any: io_uring makes, accepts and
 * closes sockets without a system call of their own. An object of its own,
 * because not every kernel lets us attach to functions; nothing depends on it.
 * The functions are in net/socket.c: sock_alloc_file gives each socket its file,
 * sock_close is what the file's release calls. */
#include "scope.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Who had a socket's file made, and when. */
struct socket_file {
	__u64 time; /* ns of CLOCK_MONOTONIC */
	__u32 pid;  /* in the initial pid namespace */
	char comm[16];
	__u8 pad[4];
};
_Static_assert(sizeof(struct socket_file) == 32, "socket_file is part of the ABI");
const struct socket_file *keep_socket_file __attribute__((unused));
const enum scope_rule *keep_scope_rule __attribute__((unused));

/* Inode number of a socket -> its file's making, of processes in scope.
 * inserted in: on_made. deleted in: on_released. read in: the Go side. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, __u64);
	__type(value, struct socket_file);
} socket_files SEC(".maps");

/* How many found no place in socket_files.
 * inserted in: at load. read in: the Go side. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} socket_files_lost SEC(".maps");

/* MAX_ERRNO of include/linux/err.h: the last addresses are errors. */
#define MAX_ERRNO 4095

static __always_inline int on_made(struct file *file)
{
	struct socket_file made = {
		.time = bpf_ktime_get_ns(),
		.pid = bpf_get_current_pid_tgid() >> 32,
	};
	__u64 inode, *lost;
	__u32 first = 0;

	if (!file || (__u64)file >= (__u64)-MAX_ERRNO)
		return 0;
	/* Those of others could leave no place for those in scope. Our own, which are
	 * few, are left out by Go: by one of them it can see that this works. */
	if (made.pid != cfg_self && !in_scope((struct task_struct *)bpf_get_current_task(), made.pid))
		return 0;
	inode = BPF_CORE_READ(file, f_inode, i_ino);
	bpf_get_current_comm(made.comm, sizeof(made.comm));
	if (bpf_map_update_elem(&socket_files, &inode, &made, BPF_ANY) == 0)
		return 0;
	lost = bpf_map_lookup_elem(&socket_files_lost, &first);
	if (lost)
		(*lost)++;
	return 0;
}

static __always_inline int on_released(struct file *file)
{
	__u64 inode = BPF_CORE_READ(file, f_inode, i_ino);

	bpf_map_delete_elem(&socket_files, &inode);
	return 0;
}

/* sock_alloc_file(socket, flags, name), then what it returned. */
SEC("fexit/sock_alloc_file")
int made_fexit(__u64 *arg)
{
	return on_made((struct file *)arg[3]);
}

/* sock_close(inode, file) */
SEC("fentry/sock_close")
int released_fentry(__u64 *arg)
{
	return on_released((struct file *)arg[1]);
}

#if defined(__TARGET_ARCH_x86)
#define RESULT(regs) ((regs)->ax)
#define SECOND(regs) ((regs)->si)
#else
#define RESULT(regs) ((regs)->regs[0])
#define SECOND(regs) ((regs)->regs[1])
#endif

SEC("kretprobe/sock_alloc_file")
int made_kprobe(struct pt_regs *regs)
{
	return on_made((struct file *)RESULT(regs));
}

SEC("kprobe/sock_close")
int released_kprobe(struct pt_regs *regs)
{
	return on_released((struct file *)SECOND(regs));
}
