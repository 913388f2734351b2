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
#include "asked_walk.h"
#include "hold.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps the types the Go side generates from in the BTF. */
const struct ask *keep_ask __attribute__((unused));
const enum ask_via *keep_ask_via __attribute__((unused));
const enum ask_counter *keep_ask_counter __attribute__((unused));
const enum ask_next *keep_ask_next __attribute__((unused));

#if defined(__TARGET_ARCH_x86)
#define ARG0(ctx) ((ctx)->di)
#define ARG1(ctx) ((ctx)->si)
#else
#define ARG0(ctx) ((ctx)->regs[0])
#define ARG1(ctx) ((ctx)->regs[1])
#endif

static __always_inline struct handle_key key_of(__u64 address)
{
	struct handle_key key = {.address = address, .tgid = bpf_get_current_pid_tgid() >> 32};

	return key;
}

/* A handle begins. */
static __always_inline int made(struct pt_regs *ctx, __u64 address)
{
	struct handle_key key = key_of(address);
	struct doing *d = current_doing();
	struct handle fresh = {};
	__u64 accepted;
	bool known;

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
	known = profiled();
	if (known && cfg_stack_rate) {
		fresh.calls[0] = entered_by(ctx);
		fresh.spared = spare(fresh.calls[0], cfg_stack_rate, bpf_ktime_get_ns());
	}
	if (bpf_map_update_elem(&handles, &key, &fresh, BPF_ANY)) {
		count(ASK_HANDLES_FULL);
		return 0;
	}
	if (fresh.spared)
		count(ASK_SPARED);
	else if (known)
		return walk_stack(ctx, key);
	else
		count(ASK_UNKNOWN);
	return 0;
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
	for (int i = 1; i < ASK_STACKS; i++) {
		to->stacks[i] = from->stacks[i - 1];
		to->calls[i] = from->calls[i - 1];
	}
	to->spared = (to->spared & 1) | (from->spared << 1 & ((1 << ASK_STACKS) - 1));
}

/* Stands in the place of the profiler's program that sends the stack. */
SEC("uprobe/stop")
int ask_stop(struct pt_regs *ctx)
{
	__u32 zero = 0;
	struct walk *w = bpf_map_lookup_elem(&walks, &zero);
	void *record = bpf_map_lookup_elem(&per_cpu_records_kp, &zero);
	struct handle *h;
	__u64 id, *known;

	if (!w || !record || !has_record(&w->by))
		return 0;
	id = stack_id(record, w->start);
	h = bpf_map_lookup_elem(&handles, &w->handle);
	if (h)
		h->stacks[0] = id;
	known = bpf_map_lookup_elem(&known_stacks, &id);
	if (known && bpf_ktime_get_ns() - *known < cfg_fresh_ns) {
		w->by.lock = 0;
		return 0;
	}
	*(__u64 *)(record + cfg_record_value) = id;
	/* The record is kept: see over. */
	bpf_tail_call(ctx, &ask_nexts, ASK_SEND);
	w->by.lock = 0;
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

static __always_inline int on_accept(struct sys_exit_ctx *ctx)
{
	struct doing *d;

	if (ctx->ret < 0 || !is_attached())
		return 0;
	d = current_doing();
	if (d)
		d->accepted = bpf_ktime_get_ns();
	return 0;
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int ask_accept(struct sys_exit_ctx *ctx)
{
	return HELD(on_accept(ctx));
}

static __always_inline void send(__u64 inode, enum ask_via via, const struct handle *h)
{
	struct ask *a = bpf_ringbuf_reserve(&asks, sizeof(*a), 0);
	__u64 id = bpf_get_current_pid_tgid();

	if (!a) {
		count(ASK_RING_FULL);
		return;
	}
	a->time = bpf_ktime_get_ns();
	a->inode = inode;
	__builtin_memcpy(a->stacks, h->stacks, sizeof(a->stacks));
	__builtin_memcpy(a->calls, h->calls, sizeof(a->calls));
	a->pid = id >> 32;
	a->tid = id;
	a->via = via;
	a->spared = h->spared;
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
	__u64 g = GOROUTINE(regs), m, inode;
	struct handle none = {};

	if (!g)
		return;
	/* A thread that runs C has something else in the register. */
	m = user_word(g + go->g_m);
	if (!m || user_word(m + go->m_curg) != g)
		return;
	none.stacks[0] = user_word(g + go->g_gopc);
	inode = socket_inode(fd);
	if (none.stacks[0] && inode)
		send(inode, VIA_GO, &none);
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
	if (h && inode && (h->stacks[0] || h->spared & 1))
		send(inode, VIA_LIBUV, h);
}

static __always_inline int on_socket(struct sys_exit_ctx *ctx)
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

SEC("tracepoint/syscalls/sys_exit_socket")
int ask_socket(struct sys_exit_ctx *ctx)
{
	return HELD(on_socket(ctx));
}
