// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Where the program asked for a socket, when that is not where it was made.
 *
 * In a program on libuv the stack at socket(2) is often that of the event loop.
 * But it made the handle before, in the code that wanted the connection, and the
 * handle is what joins the two: its stack is taken when it is made, and the
 * socket comes inside a function that is called with it, on the same thread.
 *
 * There are no probes at the return of functions: they would put the kernel's
 * own return address on the stack, which the walk at socket(2) then ends at. */
#include "asked.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the types the Go side generates from in the BTF. */
const struct ask *keep_ask __attribute__((unused));
const enum ask_via *keep_ask_via __attribute__((unused));
const enum ask_counter *keep_ask_counter __attribute__((unused));
const enum ask_next *keep_ask_next __attribute__((unused));

static __always_inline void count(enum ask_counter which)
{
	__u32 key = which;
	__u64 *n = bpf_map_lookup_elem(&ask_counters, &key);

	if (n)
		(*n)++;
}

#if defined(__TARGET_ARCH_x86)
#define ARG0(ctx) ((ctx)->di)
#define ARG1(ctx) ((ctx)->si)
#else
#define ARG0(ctx) ((ctx)->regs[0])
#define ARG1(ctx) ((ctx)->regs[1])
#endif

/* Where the function that was just entered returns to. */
static __always_inline __u64 returns_to(struct pt_regs *ctx)
{
#if defined(__TARGET_ARCH_x86)
	__u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)ctx->sp);
	return word;
#else
	return ctx->regs[30];
#endif
}

#if defined(__TARGET_ARCH_x86)
/* Whether the return address of a frame is still where the call put it. */
static __always_inline bool returns_still(const struct doing *d, __u64 sp __attribute__((unused)))
{
	__u64 word = 0;

	return !bpf_probe_read_user(&word, sizeof(word), (void *)d->sp) && word == d->returns;
}
#else
/* The bits of an address that pointer authentication leaves alone. */
#define ADDRESS(word) ((word) & 0xffffffffffffULL)

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, MAX_DEPTH);
} stack_room SEC(".maps");

/* Whether the return address of a frame is between the stack pointer and where
 * the function was entered: it came in a register, and the function put it where
 * it liked. */
static __always_inline bool returns_still(const struct doing *d, __u64 sp)
{
	__u32 zero = 0, size = d->sp - sp;
	__u64 *words = bpf_map_lookup_elem(&stack_room, &zero);

	if (!words || size > MAX_DEPTH || bpf_probe_read_user(words, size, (void *)sp))
		return false;
	for (__u32 i = 0; i < MAX_DEPTH / 8; i++) {
		if (i >= size / 8)
			break;
		if (ADDRESS(words[i]) == ADDRESS(d->returns))
			return true;
	}
	return false;
}
#endif

/* Whether a thread whose stack pointer is sp is still in the function that it was
 * seen to enter. What is called after the function returned overwrites its
 * return address, or is further away. */
static __always_inline bool inside(const struct doing *d, __u64 sp)
{
	return d->handle && sp <= d->sp && d->sp - sp <= MAX_DEPTH && returns_still(d, sp);
}

static __always_inline struct doing *current_doing(void)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct doing *d = bpf_map_lookup_elem(&threads, &tid);
	struct doing none = {};

	if (d)
		return d;
	bpf_map_update_elem(&threads, &tid, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&threads, &tid);
}

static __always_inline struct handle_key key_of(__u64 address)
{
	struct handle_key key = {.address = address, .tgid = bpf_get_current_pid_tgid() >> 32};

	return key;
}

/* Whether the walk that holds the record of this CPU came to its end. The last
 * program of the profiler can't tell. But its thread is not on this CPU any more:
 * if it gave it up by itself, or was on a CPU again since, the walk is over. */
static __always_inline bool over(const struct walk *w)
{
	struct task_struct *task = (struct task_struct *)w->task;

	if (BPF_CORE_READ(task, pid) != (int)w->tid)
		return false; /* it holds the record, and didn't come to say since when */
	return BPF_CORE_READ(task, nvcsw) != w->yielded || BPF_CORE_READ(task, nivcsw) > w->preempted + 1 ||
	       bpf_ktime_get_ns() - w->since > WALK_NS;
}

/* Has the profiler walk the stack; ask_stop gives it to the handle. */
static __always_inline int walk_stack(struct pt_regs *ctx, struct handle_key key)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	__u32 zero = 0, tid = bpf_get_current_pid_tgid(), holder;
	struct walk *w = bpf_map_lookup_elem(&walks, &zero);

	if (!w)
		return 0;
	if (!profiled()) {
		count(ASK_UNKNOWN);
		return 0;
	}
	holder = __sync_val_compare_and_swap(&w->tid, 0, tid);
	if (holder && holder != tid && (!over(w) || __sync_val_compare_and_swap(&w->tid, holder, tid) != holder)) {
		count(ASK_BUSY);
		return 0;
	}
	w->since = bpf_ktime_get_ns();
	w->task = (__u64)task;
	w->yielded = BPF_CORE_READ(task, nvcsw);
	w->preempted = BPF_CORE_READ(task, nivcsw);
	w->handle = key;
	w->start = BPF_CORE_READ(task, group_leader, start_boottime);
	bpf_tail_call(ctx, &ask_nexts, ASK_UNWIND);
	count(ASK_NOT_RUN);
	w->tid = 0;
	return 0;
}

/* A handle begins. */
static __always_inline int made(struct pt_regs *ctx, __u64 address)
{
	struct handle_key key = key_of(address);
	struct doing *d = current_doing();
	struct handle none = {};
	__u64 accepted;

	if (!d || !address)
		return 0;
	/* uv_tcp_init calls uv_tcp_init_ex. */
	if (d->init && d->handle == address && inside(d, ctx->sp))
		return 0;
	accepted = d->accepted;
	d->handle = d->newest = address;
	d->sp = ctx->sp;
	d->returns = returns_to(ctx);
	d->init = true;
	d->accepted = 0;
	if (accepted && bpf_ktime_get_ns() - accepted < ACCEPT_NS) {
		/* For what was accepted: nobody asks for it. */
		d->handle = d->newest = 0;
		bpf_map_delete_elem(&handles, &key);
		return 0;
	}
	count(ASK_HANDLES);
	if (bpf_map_update_elem(&handles, &key, &none, BPF_ANY)) {
		count(ASK_HANDLES_FULL);
		return 0;
	}
	return walk_stack(ctx, key);
}

/* A function begins that may make the socket of a handle. */
static __always_inline int used(struct pt_regs *ctx, __u64 address)
{
	struct doing *d = current_doing();

	if (!d)
		return 0;
	d->handle = address;
	d->newest = 0;
	d->sp = ctx->sp;
	d->returns = returns_to(ctx);
	d->init = false;
	return 0;
}

/* A handle is put in the place of one that is closed right after it was made:
 * Node does so to try the next address of a host, from a callback. Whether this
 * is such a case, the stacks tell. */
static __always_inline void replace(struct doing *d, const struct handle_key *closed)
{
	struct handle_key key = key_of(d->newest);
	struct handle *from = bpf_map_lookup_elem(&handles, closed);
	struct handle *to = bpf_map_lookup_elem(&handles, &key);

	if (!from || !to)
		return;
	for (int i = 1; i < ASK_STACKS; i++)
		to->stacks[i] = from->stacks[i - 1];
}

/* Stands in the place of the profiler's program that sends the stack. */
SEC("uprobe/stop")
int ask_stop(struct pt_regs *ctx)
{
	__u32 zero = 0, tid = bpf_get_current_pid_tgid();
	struct walk *w = bpf_map_lookup_elem(&walks, &zero);
	void *record = bpf_map_lookup_elem(&per_cpu_records_kp, &zero);
	struct handle *h;
	__u64 id, *known;

	if (!w || !record || w->tid != tid)
		return 0;
	id = stack_id(record, w->start);
	h = bpf_map_lookup_elem(&handles, &w->handle);
	if (h)
		h->stacks[0] = id;
	known = bpf_map_lookup_elem(&known_stacks, &id);
	if (known && bpf_ktime_get_ns() - *known < cfg_fresh_ns) {
		w->tid = 0;
		return 0;
	}
	*(__u64 *)(record + cfg_record_value) = id;
	/* The record is held on: see over. */
	bpf_tail_call(ctx, &ask_nexts, ASK_SEND);
	w->tid = 0;
	return 0;
}

SEC("uprobe/init")
int ask_init(struct pt_regs *ctx)
{
	return made(ctx, ARG1(ctx));
}

SEC("uprobe/use0")
int ask_use0(struct pt_regs *ctx)
{
	return used(ctx, ARG0(ctx));
}

SEC("uprobe/use1")
int ask_use1(struct pt_regs *ctx)
{
	return used(ctx, ARG1(ctx));
}

SEC("uprobe/close")
int ask_close(struct pt_regs *ctx)
{
	struct handle_key key = key_of(ARG0(ctx));
	struct doing *d = current_doing();

	if (d && d->newest && d->newest != key.address)
		replace(d, &key);
	if (d)
		d->handle = d->newest = 0;
	bpf_map_delete_elem(&handles, &key);
	return 0;
}

/* What was accepted gets its handle. */
SEC("uprobe/accept")
int ask_accepted(struct pt_regs *ctx)
{
	struct handle_key key = key_of(ARG1(ctx));
	struct doing *d = current_doing();

	if (d)
		d->handle = d->newest = d->accepted = 0;
	bpf_map_delete_elem(&handles, &key);
	return 0;
}

static __always_inline bool is_attached(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;

	return bpf_map_lookup_elem(&attached, &tgid);
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int ask_accept(struct sys_exit_ctx *ctx)
{
	struct doing *d;

	if (ctx->ret < 0 || !is_attached())
		return 0;
	d = current_doing();
	if (d)
		d->accepted = bpf_ktime_get_ns();
	return 0;
}

/* The inode number of the socket behind a descriptor of the acting task, 0 if it
 * is none. */
static __always_inline __u64 socket_inode(__u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	struct inode *inode;
	struct file *file;

	if (fd >= BPF_CORE_READ(fdt, max_fds) ||
	    bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(fdt, fd) + fd) || !file)
		return 0;
	inode = BPF_CORE_READ(file, f_inode);
	if ((BPF_CORE_READ(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	return BPF_CORE_READ(inode, i_ino);
}

static __always_inline void send(__u64 inode, enum ask_via via, const __u64 *stacks)
{
	struct ask *a = bpf_ringbuf_reserve(&asks, sizeof(*a), 0);
	__u64 id = bpf_get_current_pid_tgid();

	if (!a) {
		count(ASK_RING_FULL);
		return;
	}
	a->time = bpf_ktime_get_ns();
	a->inode = inode;
	__builtin_memcpy(a->stacks, stacks, sizeof(a->stacks));
	a->pid = id >> 32;
	a->tid = id;
	a->via = via;
	a->pad = 0;
	bpf_ringbuf_submit(a, BPF_RB_NO_WAKEUP);
}

/* The goroutine that makes system calls has its g in a register, in all versions
 * of Go with register arguments (src/cmd/compile/abi-internal.md). */
#if defined(__TARGET_ARCH_x86)
#define GOROUTINE(regs) BPF_CORE_READ(regs, r14)
#else
#define GOROUTINE(regs) BPF_CORE_READ(regs, regs[28])
#endif

static __always_inline __u64 user_word(__u64 address)
{
	__u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)address);
	return word;
}

/* Which go statement started the goroutine that made a socket. */
static __always_inline void started(struct pt_regs *regs, const struct go_layout *go, __s32 fd)
{
	__u64 g = GOROUTINE(regs), m, inode, stacks[ASK_STACKS] = {};

	if (!g)
		return;
	/* A thread that runs C has something else in the register. */
	m = user_word(g + go->g_m);
	if (!m || user_word(m + go->m_curg) != g)
		return;
	stacks[0] = user_word(g + go->g_gopc);
	inode = socket_inode(fd);
	if (stacks[0] && inode)
		send(inode, VIA_GO, stacks);
}

/* Which handle the socket is for that was just made. */
static __always_inline void handled(struct pt_regs *regs, struct doing *d, __s32 fd)
{
	struct handle_key key = key_of(d->handle);
	struct handle *h;
	__u64 inode;

	if (!inside(d, BPF_CORE_READ(regs, sp)))
		return;
	/* A handle has one socket. */
	d->handle = 0;
	h = bpf_map_lookup_elem(&handles, &key);
	inode = socket_inode(fd);
	if (h && h->stacks[0] && inode)
		send(inode, VIA_LIBUV, h->stacks);
}

SEC("tracepoint/syscalls/sys_exit_socket")
int ask_socket(struct sys_exit_ctx *ctx)
{
	struct pt_regs *regs;
	struct go_layout *go;
	struct doing *d;
	__u64 id = bpf_get_current_pid_tgid();
	__u32 tgid = id >> 32, tid = id;

	if (ctx->ret < 0 || !is_attached())
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs((struct task_struct *)bpf_get_current_task_btf());
	d = bpf_map_lookup_elem(&threads, &tid);
	if (d && d->handle)
		handled(regs, d, ctx->ret);
	go = bpf_map_lookup_elem(&go_programs, &tgid);
	if (go)
		started(regs, go, ctx->ret);
	return 0;
}
