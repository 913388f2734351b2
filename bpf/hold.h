/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Keeping the CPU while a program runs. Newer kernels (7.2; not yet 6.18) preempt programs
 * at the tracepoints of system calls like any other code (trace_call_bpf_faultable), and
 * what such programs share on a CPU may be another's then when they go on.
 *
 * It is no way to be left out less: for as long as a program is preempted, the kernel
 * leaves it out for whoever else calls on that CPU (bpf_prog_run_array_sleepable), and a
 * thread whose time is up gives way in let_go. For that see to_be_sent in create.h. */
#ifndef HOLD_H
#define HOLD_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/* Since 6.10 (fc7566ad0a82). Where they are not, their address is 0. */
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

/* Nothing but interrupts comes in between until let_go. There is no tail call in
 * between, and no return. */
static __always_inline void hold(void)
{
	if (bpf_preempt_disable)
		bpf_preempt_disable();
}

static __always_inline void let_go(void)
{
	if (bpf_preempt_enable)
		bpf_preempt_enable();
}

/* A handler, held. */
#define HELD(call)                                                                                 \
	({                                                                                         \
		int returned;                                                                      \
                                                                                                   \
		hold();                                                                            \
		returned = (call);                                                                 \
		let_go();                                                                          \
		returned;                                                                          \
	})

#endif
