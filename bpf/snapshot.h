/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* One descriptor of one process, and what its socket looks like now. */
#ifndef SNAPSHOT_H
#define SNAPSHOT_H

#include "sock.h"
#include "task.h"

/* enum sock_flags, include/net/sock.h. */
#define SOCK_DEAD 0 /* sock_orphan: the last descriptor was closed */
#define SOCK_DONE 1 /* tcp_fin: the peer's FIN came */
#define SOCK_KEEPOPEN 3
#define RCV_SHUTDOWN 1
#define SEND_SHUTDOWN 2
#define UNIX_PATH_MAX 108 /* include/uapi/linux/un.h */

/* What a row's names are read from. */
struct names {
	struct unix_address *local;
	struct unix_address *remote;
};

static __always_inline bool cloexec_of(struct files_struct *files, __u32 fd)
{
	unsigned long word = 0, *words = BPF_CORE_READ(files, fdt, close_on_exec);

	bpf_probe_read_kernel(&word, sizeof(word), words + fd / 64);
	return word >> (fd % 64) & 1;
}

/* What was sent and finds no answer. In TCP_CLOSE the counters are those of the
 * moment the connection ended: nothing is under way any more. */
static __always_inline void delivery_facts(struct row *r, struct sock *sk, __u32 write_seq)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	__u32 una = BPF_CORE_READ(tp, snd_una), next = BPF_CORE_READ(tp, snd_nxt);
	__u32 unacked = next - una;
	__u8 state = r->sock.state;

	/* The kernel counts the SYN, and the FIN, the last of write_seq, once it
	 * was sent: in these states it was not acknowledged. */
	if (state == TCP_SYN_SENT || state == TCP_SYN_RECV ||
	    ((state == TCP_FIN_WAIT1 || state == TCP_CLOSING || state == TCP_LAST_ACK) &&
	     next == write_seq))
		unacked -= unacked > 0;
	r->unacked = unacked;
	r->retransmits = BPF_CORE_READ(icsk, icsk_retransmits);
	r->probes = BPF_CORE_READ(icsk, icsk_probes_out);
	r->known |= KNOWN_DELIVERY;
}

static __always_inline void tcp_facts(struct row *r, struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct inet_connection_sock *icsk = (struct inet_connection_sock *)sk;
	/* What is behind is read before what is ahead of it, or a packet that comes
	 * meanwhile makes the difference negative. */
	__u32 copied_seq = BPF_CORE_READ(tp, copied_seq), snd_una = BPF_CORE_READ(tp, snd_una);
	__u32 write_seq = BPF_CORE_READ(tp, write_seq), rcv_nxt = BPF_CORE_READ(tp, rcv_nxt);
	__u32 now = bpf_jiffies64(), lrcvtime;

	if (r->sock.state == TCP_LISTEN) {
		r->recv_q = BPF_CORE_READ(sk, sk_ack_backlog);
		r->send_q = BPF_CORE_READ(sk, sk_max_ack_backlog);
		r->known |= KNOWN_QUEUES;
		return;
	}
	/* tcp_v4_connect chooses write_seq, never 0; the peer's SYN-ACK sets
	 * rcv_nxt. Both stay when the connection ends, so they tell a socket
	 * that never connected from one that failed to and one that is dead. */
	if (write_seq)
		r->flags |= ROW_BEGUN;
	if (rcv_nxt)
		r->flags |= ROW_WAS_ESTABLISHED;
	r->known |= KNOWN_HISTORY;
	r->recv_q = rcv_nxt - copied_seq;
	/* In TCP_CLOSE nothing is queued any more, and after a connect that failed
	 * write_seq is ahead of what was sent (tcp_disconnect). */
	if (r->sock.state != TCP_CLOSE) {
		r->send_q = write_seq - snd_una;
		delivery_facts(r, sk, write_seq);
	}
	r->known |= KNOWN_QUEUES;
	lrcvtime = BPF_CORE_READ(icsk, icsk_ack.lrcvtime);
	/* tcp_disconnect clears it, with the counts: after connect(AF_UNSPEC), or a
	 * reset that connect returned. */
	if (!rcv_nxt || !lrcvtime)
		return;
	r->last_rx = now - lrcvtime;
	r->last_tx = now - BPF_CORE_READ(tp, lsndtime);
	/* The kernel counts the FIN. */
	r->bytes_in = BPF_CORE_READ(tp, bytes_received) -
		      (BPF_CORE_READ(sk, __sk_common.skc_flags) >> SOCK_DONE & 1);
	r->bytes_out = BPF_CORE_READ(tp, bytes_sent) - BPF_CORE_READ(tp, bytes_retrans);
	r->known |= KNOWN_ACTIVITY | KNOWN_BYTES;
}

/* MPTCP counts for itself, above its subflows, and says less on older kernels.
 * What it counts means something while it is connected: from ESTABLISHED on. */
static __always_inline void mptcp_facts(struct row *r, struct sock *sk)
{
	struct mptcp_sock *msk = (struct mptcp_sock *)sk;
	__u32 now = bpf_jiffies64();
	__u8 state = r->sock.state;

	if (state == TCP_SYN_SENT || state == TCP_SYN_RECV || state == TCP_CLOSE || state == TCP_LISTEN)
		return;
	r->flags |= ROW_BEGUN | ROW_WAS_ESTABLISHED;
	r->known |= KNOWN_HISTORY;
	if (bpf_core_field_exists(msk->last_data_recv)) {
		r->last_rx = now - BPF_CORE_READ(msk, last_data_recv);
		r->last_tx = now - BPF_CORE_READ(msk, last_data_sent);
		r->known |= KNOWN_ACTIVITY;
	}
	if (bpf_core_field_exists(msk->bytes_received)) {
		r->bytes_in = BPF_CORE_READ(msk, bytes_received);
		r->bytes_out = BPF_CORE_READ(msk, bytes_sent) - BPF_CORE_READ(msk, bytes_retrans);
		r->known |= KNOWN_BYTES;
	}
}

/* The length of the name of an AF_UNIX socket, 0 if it has none. */
static __always_inline __u8 name_length(struct unix_address *addr)
{
	int len = addr ? BPF_CORE_READ(addr, len) - (int)sizeof(__u16) : 0;

	return len > 0 && len <= UNIX_PATH_MAX ? len : 0;
}

static __always_inline void unix_facts(struct row *r, struct sock *sk, struct names *names)
{
	struct unix_sock *u = (struct unix_sock *)sk;
	struct sock *peer = BPF_CORE_READ(u, peer);

	names->local = BPF_CORE_READ(u, addr);
	r->local_name = name_length(names->local);
	if (names->local)
		r->flags |= ROW_BOUND;
	r->known |= KNOWN_BOUND | KNOWN_HISTORY | KNOWN_PEER;
	if (!peer)
		return;
	names->remote = BPF_CORE_READ((struct unix_sock *)peer, addr);
	r->remote_name = name_length(names->remote);
	r->flags |= ROW_BEGUN | ROW_WAS_ESTABLISHED;
	/* The survivor keeps the sock of a peer that was closed, in state and all
	 * (unix_release_sock). Not sk_socket: a connection that was not accepted
	 * yet has none either. */
	if (BPF_CORE_READ(peer, __sk_common.skc_flags) >> SOCK_DEAD & 1) {
		r->flags |= ROW_PEER_GONE;
		return;
	}
	r->peer_inode = BPF_CORE_READ(peer, sk_socket, file, f_inode, i_ino);
}

static __always_inline void sock_facts(struct row *r, struct sock *sk, struct names *names)
{
	struct socket_wq *wq = BPF_CORE_READ(sk, sk_wq);
	__u8 shutdown = BPF_CORE_READ(sk, sk_shutdown);

	if (wq) {
		struct list_head *head = (void *)wq + bpf_core_field_offset(struct socket_wq, wait) +
					 bpf_core_field_offset(wait_queue_head_t, head);

		if (BPF_CORE_READ(head, next) != head)
			r->flags |= ROW_WAITERS;
		r->known |= KNOWN_WAITERS;
	}
	if (shutdown & RCV_SHUTDOWN)
		r->flags |= ROW_RCV_SHUTDOWN;
	if (shutdown & SEND_SHUTDOWN)
		r->flags |= ROW_SND_SHUTDOWN;
	r->err = BPF_CORE_READ(sk, sk_err);
	if (is_inet(&r->sock)) {
		if (r->sock.local_port)
			r->flags |= ROW_BOUND;
		if (BPF_CORE_READ(sk, __sk_common.skc_flags) >> SOCK_KEEPOPEN & 1)
			r->flags |= ROW_KEEPALIVE;
		r->known |= KNOWN_BOUND | KNOWN_KEEPALIVE;
	}
	if (is_tcp(&r->sock) && r->sock.protocol == IPPROTO_TCP) {
		tcp_facts(r, sk);
	} else if (r->sock.family == AF_UNIX) {
		unix_facts(r, sk, names);
	} else if (is_tcp(&r->sock)) {
		mptcp_facts(r, sk);
	} else if (is_inet(&r->sock) && r->sock.type != SOCK_STREAM) {
		r->recv_q = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);
		r->known |= KNOWN_QUEUES;
	}
}

/* Writes the bytes the row has promised, whatever can be read of them. */
static __always_inline void write_name(struct seq_file *seq, struct unix_address *addr, __u32 len)
{
	if (!len)
		return;

	char name[128] = {}; /* a power of two, for the verifier */

	len &= sizeof(name) - 1;
	bpf_probe_read_kernel(name, len,
			      (char *)addr + bpf_core_field_offset(struct unix_address, name) + sizeof(__u16));
	bpf_seq_write(seq, name, len);
}

static __always_inline int on_task_file(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct files_struct *files;
	struct names names = {};
	struct row r = {};
	struct sock *sk;

	if (!task || !file)
		return 0;
	r.inode = socket_inode(file);
	if (!r.inode)
		return 0;
	sk = sock_of(file);
	if (!sk)
		return 0;
	r.time = bpf_ktime_get_ns();
	r.pid = task->tgid;
	r.start = BPF_CORE_READ(task, group_leader, start_boottime);
	/* Read, not walked: the verifier lets no arithmetic on a typed pointer. */
	files = BPF_CORE_READ(task, files);
	r.table = table_id(files);
	r.fd = ctx->fd;
	BPF_CORE_READ_INTO(&r.comm, task, group_leader, comm);
	describe_kind(&r.sock, sk, false);
	/* One from before the attach: its next states belong to us too, and before it is
	 * described, so that none is between. */
	if (is_tcp(&r.sock) && r.sock.state != TCP_CLOSE && in_scope(task, r.pid))
		follow_tcp(sk, r.inode);
	describe(&r.sock, sk, false);
	r.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	sock_facts(&r, sk, &names);
	if (task->pid != task->tgid)
		r.flags |= ROW_THREAD;
	if (cloexec_of(files, ctx->fd))
		r.flags |= ROW_CLOEXEC;
	r.known |= KNOWN_DESCRIPTOR;
	/* All of it or nothing: what does not fit is taken back, and the program
	 * runs again for this file (bpf_seq_read). */
	bpf_seq_write(ctx->meta->seq, &r, sizeof(r));
	write_name(ctx->meta->seq, names.local, r.local_name);
	write_name(ctx->meta->seq, names.remote, r.remote_name);
	return 0;
}

#endif
