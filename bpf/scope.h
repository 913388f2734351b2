/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which processes are traced. Each object that includes it has the constants and the
 * maps for its own; Go sets the one alike, and has the others shared. */
#ifndef SCOPE_H
#define SCOPE_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Set before load, frozen then: the verifier drops the branches not taken. */
const volatile __u32 cfg_self;  /* our own process, never traced */
const volatile __u32 cfg_scope; /* enum scope_rule, or-ed */

enum scope_rule {
	SCOPE_PIDS = 1,     /* only processes in targets */
	SCOPE_CHILDREN = 2, /* and what they fork from now on */
	SCOPE_COMM = 4,     /* only names in comms with COMM_ONLY */
	SCOPE_EXCLUDE = 8,  /* no names in comms with COMM_EXCLUDE */
};

enum comm_rule {
	COMM_ONLY = 1,
	COMM_EXCLUDE = 2,
};

/* Process id -> in scope.
 * inserted in: Go before attach, process.h at fork. deleted in: process.h when
 * the last thread exits. read in: here, process.h. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, __u8);
} targets SEC(".maps");

/* Process name -> enum comm_rule.
 * inserted in: Go before attach. deleted in: never, bounded by the command
 * line. read in: here. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, char[16]);
	__type(value, __u32);
} comms SEC(".maps");

/* Whether a process is one of those that were named, or of their children. */
static __always_inline bool is_target(__u32 tgid)
{
	return tgid != cfg_self && (!(cfg_scope & SCOPE_PIDS) || bpf_map_lookup_elem(&targets, &tgid));
}

static __always_inline bool in_scope(struct task_struct *task, __u32 tgid)
{
	if (!is_target(tgid))
		return false;
	if (cfg_scope & (SCOPE_COMM | SCOPE_EXCLUDE)) {
		char comm[16];
		__u32 *rule;

		/* The process's name: a thread can have another. */
		BPF_CORE_READ_INTO(&comm, task, group_leader, comm);
		rule = bpf_map_lookup_elem(&comms, comm);
		if ((cfg_scope & SCOPE_COMM) && !(rule && *rule == COMM_ONLY))
			return false;
		if ((cfg_scope & SCOPE_EXCLUDE) && rule && *rule == COMM_EXCLUDE)
			return false;
	}
	return true;
}

#endif
