// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The entry points of --last-use. An object of its own, that is not loaded
 * otherwise: it runs on the busiest of system calls. It shares with sockleak.bpf.c
 * the maps of what is sent and of who is in scope, but not those of the budget. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "uses.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the types the Go side generates from in the BTF. */
const enum use_next *keep_use_next __attribute__((unused));

SEC("tracepoint/syscalls/sys_exit_any")
int send_use(struct sys_exit_ctx *ctx)
{
	return on_use(ctx);
}

#define ON_RETURN(name, handler)                                                                   \
	SEC("tracepoint/syscalls/sys_exit_" #name)                                                 \
	int exit_##name(struct sys_exit_ctx *ctx)                                                  \
	{                                                                                          \
		return handler(ctx);                                                               \
	}

ON_RETURN(read, on_read_return)
ON_RETURN(readv, on_read_return)
ON_RETURN(recvfrom, on_read_return)
ON_RETURN(recvmsg, on_recvmsg_return)
ON_RETURN(write, on_write_return)
ON_RETURN(writev, on_write_return)
ON_RETURN(sendto, on_write_return)
ON_RETURN(sendmsg, on_write_return)
ON_RETURN(shutdown, on_shutdown_return)
ON_RETURN(epoll_ctl, on_epoll_ctl_return)
ON_RETURN(getsockopt, on_getsockopt_return)
