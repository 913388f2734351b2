/* Addresses, connections, and descriptors that travel. */
#ifndef FDOPS_NET_H
#define FDOPS_NET_H

#include "fdops.h"

#include <stddef.h>

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

static int family_of(int fd)
{
	int family = AF_UNSPEC;
	socklen_t len = sizeof family;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) < 0 ? -1 : family;
}

/* The address that a word stands for, in the family of the socket: a port of
 * the loopback address, @HEX for an abstract AF_UNIX name, "refused" for one
 * where nobody listens, "unspec" to disconnect. An AF_INET6 socket uses the
 * IPv4-mapped loopback address unless v6 is set. Returns its length. */
static socklen_t to_address(int fd, const char *word, bool v6, union address *a)
{
	bool refused = strcmp(word, "refused") == 0;
	uint16_t port = htons(refused ? 1 : (uint16_t)atoi(word));

	memset(a, 0, sizeof *a);
	if (strcmp(word, "unspec") == 0) {
		a->any.sa_family = AF_UNSPEC;
		return sizeof a->any;
	}
	switch (family_of(fd)) {
	case AF_UNIX:
		a->local.sun_family = AF_UNIX;
		snprintf(a->local.sun_path + 1, 16, "%s", refused ? "nobody" : word + 1);
		return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
				   strlen(a->local.sun_path + 1));
	case AF_INET6:
		a->v6.sin6_family = AF_INET6;
		a->v6.sin6_port = port;
		if (v6) {
			a->v6.sin6_addr = in6addr_loopback;
		} else {
			a->v6.sin6_addr.s6_addr[10] = a->v6.sin6_addr.s6_addr[11] = 0xff;
			a->v6.sin6_addr.s6_addr[12] = 127;
			a->v6.sin6_addr.s6_addr[15] = 1;
		}
		return sizeof a->v6;
	default:
		a->v4 = loopback(ntohs(port));
		return sizeof a->v4;
	}
}

/* bind FD [v6]: to a free address of the loopback; answers the word by which
 * connect knows it. */
static void do_bind(int fd, bool v6, char reply[REPLY])
{
	union address a;
	socklen_t len = to_address(fd, "0", v6, &a);

	if (a.any.sa_family == AF_UNIX)
		len = sizeof a.local.sun_family; /* the kernel names it */
	if (bind(fd, &a.any, len) < 0) {
		answer(reply, "err %d", errno);
		return;
	}
	len = sizeof a;
	if (getsockname(fd, &a.any, &len) < 0)
		answer(reply, "err %d", errno);
	else if (a.any.sa_family == AF_UNIX)
		answer(reply, "ok @%.5s", a.local.sun_path + 1);
	else
		answer(reply, "ok %d", ntohs(a.v4.sin_port)); /* where v6 has it too */
}

/* connect FD ADDRESS [nonblock] [v6]. */
static void do_connect(int fd, char **words, char reply[REPLY])
{
	union address a;
	socklen_t len = to_address(fd, words[0], has_word(words, "v6"), &a);

	if (has_word(words, "nonblock") && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		answer(reply, "err %d", errno);
	else
		result(reply, connect(fd, &a.any, len));
}

/* scm_send FD N: descriptor N travels through the AF_UNIX socket FD. */
static long send_fd(int fd, int n)
{
	char c = 'x', control[CMSG_SPACE(sizeof n)] = {0};
	struct iovec data = {&c, 1};
	struct msghdr msg = {.msg_iov = &data, .msg_iovlen = 1,
			     .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof n);
	memcpy(CMSG_DATA(head), &n, sizeof n);
	return sendmsg(fd, &msg, MSG_DONTWAIT);
}

/* scm_recv FD [cloexec]: returns the descriptor that came. */
static long receive_fd(int fd, bool cloexec)
{
	int n;
	char c, control[CMSG_SPACE(sizeof n)];
	struct iovec data = {&c, 1};
	struct msghdr msg = {.msg_iov = &data, .msg_iovlen = 1,
			     .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *head;

	if (recvmsg(fd, &msg, MSG_DONTWAIT | (cloexec ? MSG_CMSG_CLOEXEC : 0)) < 0)
		return -1;
	head = CMSG_FIRSTHDR(&msg);
	if (!head || head->cmsg_type != SCM_RIGHTS) {
		errno = ENOMSG;
		return -1;
	}
	memcpy(&n, CMSG_DATA(head), sizeof n);
	return n;
}

/* pidfd_getfd PID N: takes a copy of another process's descriptor. */
static long take_fd(pid_t pid, int n)
{
	long got, pidfd = syscall(SYS_pidfd_open, pid, 0);
	int reason;

	if (pidfd < 0)
		return -1;
	got = syscall(SYS_pidfd_getfd, pidfd, n, 0);
	reason = errno;
	close((int)pidfd);
	errno = reason;
	return got;
}

#endif
