/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The acting task: whether it is in scope, its registers, its descriptors. */
#ifndef TASK_H
#define TASK_H

#include <bpf/bpf_core_read.h>
#include "callid.h"
#include "maps.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000

/* Since 6.2 (a35b9af4ec2c): gives a pointer a type, by its number in the kernel's
 * BTF. Where there is no such function its address is 0. */
extern void *bpf_rdonly_cast(const void *p, __u32 type) __ksym __weak;

/* A field of a kernel object. Through a pointer whose type it knows the verifier
 * lets us load as C does, ten times faster than by bpf_probe_read_kernel; a bad
 * address reads as 0 either way. */
#define READ(tag, p, field)                                                                        \
	(bpf_rdonly_cast                                                                           \
		 ? ((struct tag *)bpf_rdonly_cast(p, bpf_core_type_id_kernel(struct tag)))->field  \
		 : BPF_CORE_READ((struct tag *)(p), field))

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

/* A number for a descriptor table that tells tables apart without telling where
 * the kernel keeps them: it reaches recordings. */
static __always_inline __u64 table_id(struct files_struct *files)
{
	return files ? ((__u64)files ^ cfg_secret[0]) * (cfg_secret[1] | 1) : 0;
}

static __always_inline __u64 current_table(void)
{
	return table_id(BPF_CORE_READ(current_task(), files));
}

/* The registers the task entered the kernel with. They hold the arguments of the
 * system call until it returns. */
static __always_inline struct pt_regs *user_regs(struct task_struct *task)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return (struct pt_regs *)bpf_task_pt_regs((struct task_struct *)bpf_get_current_task_btf());
	/* Before 5.15: at the end of a kernel stack of 16 KiB, on amd64
	 * (arch/x86/include/asm/page_64_types.h; the padding came with FRED in
	 * 6.9) and arm64 with pages of 4 KiB (arch/arm64/include/asm/memory.h). */
	return (struct pt_regs *)(BPF_CORE_READ(task, stack) + (16 << 10) - bpf_core_type_size(struct pt_regs));
}

/* What a walk of the user stack begins with. */
struct user_frame {
	__u64 pc, sp, fp, lr;
};

#if defined(__TARGET_ARCH_x86)
static __always_inline struct user_frame innermost_frame(struct pt_regs *regs)
{
	struct user_frame f = {
		.pc = BPF_CORE_READ(regs, ip),
		.sp = BPF_CORE_READ(regs, sp),
		.fp = BPF_CORE_READ(regs, bp),
	};

	return f;
}

static __always_inline unsigned long call_arg(struct pt_regs *regs, int n)
{
	switch (n) {
	case 0:
		return BPF_CORE_READ(regs, di);
	case 1:
		return BPF_CORE_READ(regs, si);
	case 2:
		return BPF_CORE_READ(regs, dx);
	default:
		return BPF_CORE_READ(regs, r10);
	}
}

#define PC(regs) ((regs)->ip)
/* Where a function that has no frame of its own returns to. */
static __always_inline __u64 return_address(struct pt_regs *regs)
{
	__u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)BPF_CORE_READ(regs, sp));
	return word;
}
#else
static __always_inline struct user_frame innermost_frame(struct pt_regs *regs)
{
	struct user_frame f = {
		.pc = BPF_CORE_READ(regs, pc),
		.sp = BPF_CORE_READ(regs, sp),
		.fp = BPF_CORE_READ(regs, regs[29]),
		.lr = BPF_CORE_READ(regs, regs[30]),
	};

	return f;
}

static __always_inline unsigned long call_arg(struct pt_regs *regs, int n)
{
	/* The first is overwritten by the result. */
	return n ? BPF_CORE_READ(regs, regs[n]) : BPF_CORE_READ(regs, orig_x0);
}

#define PC(regs) ((regs)->pc)
static __always_inline __u64 return_address(struct pt_regs *regs)
{
	return BPF_CORE_READ(regs, regs[30]);
}
#endif

static __always_inline unsigned long current_arg(int n)
{
	return call_arg(user_regs(current_task()), n);
}

/* As C does where the kernel lets us, see READ. */
static __always_inline struct call_site call_site(void)
{
	struct call_site c = {};

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs)) {
		struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
		struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);

		c.pc = PC(regs);
		c.sp = regs->sp;
#if defined(__TARGET_ARCH_arm64)
		c.link = regs->regs[30];
#endif
		c.begin = task->mm->start_code;
		c.end = task->mm->end_code;
		c.exec = task->self_exec_id;
	} else {
		struct task_struct *task = current_task();
		struct pt_regs *regs = user_regs(task);
		struct mm_struct *mm = BPF_CORE_READ(task, mm);

		bpf_probe_read_kernel(&c.pc, sizeof(c.pc), &PC(regs));
		c.sp = BPF_CORE_READ(regs, sp);
#if defined(__TARGET_ARCH_arm64)
		c.link = BPF_CORE_READ(regs, regs[30]);
#endif
		c.begin = BPF_CORE_READ(mm, start_code);
		c.end = BPF_CORE_READ(mm, end_code);
		c.exec = BPF_CORE_READ(task, self_exec_id);
	}
	return c;
}

/* Where the acting task's descriptors are. */
struct descriptors {
	__u32 max;
	struct file **fd;
};

/* As C does where the kernel lets us, see READ. */
static __always_inline struct descriptors current_descriptors(void)
{
	struct descriptors d;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) {
		struct task_struct *task = (struct task_struct *)bpf_get_current_task_btf();
		struct fdtable *fdt = task->files->fdt;

		d.max = fdt->max_fds;
		d.fd = fdt->fd;
	} else {
		struct fdtable *fdt = BPF_CORE_READ(current_task(), files, fdt);

		d.max = BPF_CORE_READ(fdt, max_fds);
		d.fd = BPF_CORE_READ(fdt, fd);
	}
	return d;
}

/* The file behind a descriptor of the acting task, or NULL. */
static __always_inline struct file *file_of(__u32 fd)
{
	struct descriptors d = current_descriptors();
	struct file *file = NULL;

	if (fd < d.max)
		bpf_probe_read_kernel(&file, sizeof(file), d.fd + fd);
	return file;
}

/* When the acting process started. */
static __always_inline __u64 current_start(void)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		return ((struct task_struct *)bpf_get_current_task_btf())->group_leader->start_boottime;
	return BPF_CORE_READ(current_task(), group_leader, start_boottime);
}

/* Whether the acting process is in scope. One of those that were named is so as
 * long as it lives, so the one that acted last on this CPU is known again. */
static __always_inline bool current_in_scope(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32, zero = 0;
	struct last_target *last;

	if (!(cfg_scope & SCOPE_PIDS) || cfg_scope & (SCOPE_COMM | SCOPE_EXCLUDE))
		return in_scope(current_task(), tgid);
	last = bpf_map_lookup_elem(&last_target, &zero);
	if (!last)
		return is_target(tgid);
	if (last->tgid == tgid && last->start == current_start())
		return true;
	if (!is_target(tgid))
		return false;
	last->tgid = tgid;
	last->start = current_start();
	return true;
}

/* The inode number of a socket's file, 0 for any other file. */
static __always_inline __u64 socket_inode(struct file *file)
{
	struct inode *inode;

	if (!file)
		return 0;
	inode = READ(file, file, f_inode);
	if ((READ(inode, inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	return READ(inode, inode, i_ino);
}

#endif
