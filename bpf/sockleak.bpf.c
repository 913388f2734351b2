// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* The entry points. They only call; the handlers are in the header of their
 * phase. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#include "connect.h"
#include "create.h"
#include "descriptor.h"
#include "hold.h"
#include "process.h"
#include "snapshot.h"
#include "tcp.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the types the Go side generates from in the BTF. */
#define KEEP(kind, name) const kind name *keep_##name __attribute__((unused))
KEEP(struct, sock_desc);
KEEP(struct, event);
KEEP(struct, exec_fds);
KEEP(struct, stack_record);
KEEP(struct, row);
KEEP(struct, stack_copy);
KEEP(enum, walk);
KEEP(enum, step);
KEEP(enum, step_limit);
KEEP(enum, record_kind);
KEEP(enum, event_flag);
KEEP(enum, event_size);
KEEP(enum, use_op);
KEEP(enum, row_flag);
KEEP(enum, row_known);
KEEP(enum, counter);
KEEP(enum, scope_rule);
KEEP(enum, comm_rule);
KEEP(enum, walker);

/* Go attaches those that serve several calls to each, see internal/probe/hooks.go. */
#define ON_RETURN(name, handler)                                                                   \
	SEC("tracepoint/syscalls/sys_exit_" #name)                                                 \
	int exit_##name(struct sys_exit_ctx *ctx)                                                  \
	{                                                                                          \
		return HELD(handler(ctx));                                                         \
	}

#define ON_ENTRY(name, handler)                                                                    \
	SEC("tracepoint/syscalls/sys_enter_" #name)                                                \
	int enter_##name(struct sys_enter_ctx *ctx)                                                \
	{                                                                                          \
		return HELD(handler(ctx));                                                         \
	}

ON_RETURN(socket, on_birth) /* socketpair, accept, accept4 */
ON_RETURN(connect, on_connect_return)
ON_ENTRY(close, on_close)
ON_RETURN(dup, on_dup_return)
ON_RETURN(fcntl, on_fcntl_return)
ON_ENTRY(dup3, on_dup_onto) /* dup2 */
ON_RETURN(dup3, on_dup_onto_return)
ON_ENTRY(close_range, on_close_range)
ON_RETURN(close_range, on_close_range_return)
ON_ENTRY(unshare, on_unshare)
ON_RETURN(unshare, on_unshare_return)
ON_ENTRY(execve, on_exec_entry) /* execveat */
ON_RETURN(execve, on_exec_return)

#define ON_EVENT(name, tracepoint, call)                                                            \
	SEC("tp_btf/" #tracepoint)                                                                 \
	int name(__u64 *arg)                                                                       \
	{                                                                                          \
		return HELD(call);                                                                 \
	}

ON_EVENT(tcp_state, inet_sock_set_state, on_tcp_state((struct sock *)arg[0], arg[1], arg[2]))
ON_EVENT(tcp_destroy, tcp_destroy_sock, on_tcp_destroy((struct sock *)arg[0]))
ON_EVENT(process_fork, sched_process_fork, on_fork((struct task_struct *)arg[1]))
ON_EVENT(process_exec, sched_process_exec, on_exec((struct task_struct *)arg[0], arg[1]))
ON_EVENT(process_exit, sched_process_exit, on_exit((struct task_struct *)arg[0]))

/* Attached after exit_socket, while there is who walks stacks. */
SEC("tracepoint/syscalls/sys_exit_any")
int walk_birth(struct sys_exit_ctx *ctx)
{
	return on_born(ctx);
}

SEC("iter/task_file")
int task_file(struct bpf_iter__task_file *ctx)
{
	return on_task_file(ctx);
}
