/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef MIX_H
#define MIX_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/* Multiply and rotate, after wyhash and its kin: every word and its place changes
 * the result. */
static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9fb21c651e98df25ULL;
	return hash ^ hash >> 28;
}

#endif
