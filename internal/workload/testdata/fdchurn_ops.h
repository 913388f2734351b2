/* The single operations of fdchurn, each a system call or two on descriptors
 * taken at random. None blocks: every socket is made non-blocking. */
#ifndef FDCHURN_OPS_H
#define FDCHURN_OPS_H

static void keep(int fd) { (void)fd; } /* it stays open: that is the point */

static void op_socket(struct thread *t)
{
	static const struct {
		int family, type;
	} kinds[] = {
		{AF_INET, SOCK_STREAM},	 {AF_INET, SOCK_DGRAM}, {AF_INET6, SOCK_STREAM},
		{AF_UNIX, SOCK_STREAM},	 {AF_UNIX, SOCK_DGRAM}, {AF_NETLINK, SOCK_RAW},
	};
	uint32_t i = draw(t, sizeof kinds / sizeof *kinds);

	keep(socket(kinds[i].family, kinds[i].type | SOCK_NONBLOCK | flag(t, SOCK_CLOEXEC), 0));
}

static void op_socketpair(struct thread *t)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | flag(t, SOCK_CLOEXEC), 0, fds) == 0)
		keep(fds[0]);
}

static void op_listen(struct thread *t)
{
	struct sockaddr_in in = loopback(0);
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	bool tcp = draw(t, 2);
	int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | flag(t, SOCK_CLOEXEC), 0);

	if (fd < 0)
		return;
	if (bind(fd, tcp ? (struct sockaddr *)&in : (struct sockaddr *)&local,
		 tcp ? sizeof in : sizeof local.sun_family) == 0)
		listen(fd, 4);
}

/* A listener among the descriptors, or -1 when the search found none. */
static int some_listener(struct thread *t)
{
	for (int tries = 0; tries < 8; tries++) {
		int fd = some_fd(t), listens = 0;
		socklen_t len = sizeof listens;

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && listens)
			return fd;
	}
	return -1;
}

static void op_connect(struct thread *t)
{
	struct sockaddr_storage to = {0};
	struct sockaddr_in nobody = loopback(1);
	socklen_t len = sizeof to;
	int listener = some_listener(t), fd;

	if (listener < 0 || getsockname(listener, (struct sockaddr *)&to, &len) < 0) {
		memcpy(&to, &nobody, sizeof nobody);
		len = sizeof nobody;
	}
	fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | flag(t, SOCK_CLOEXEC), 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, len) < 0)
		keep(fd); /* refused, or not yet: both are states to end in */
}

static void op_accept(struct thread *t)
{
	int fd, listener = some_listener(t);

	if (draw(t, 2)) {
		keep((int)syscall(SYS_accept4, listener, NULL, NULL, SOCK_NONBLOCK | flag(t, SOCK_CLOEXEC)));
		return;
	}
	fd = (int)syscall(SYS_accept, listener, NULL, NULL);
	if (fd >= 0)
		fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void op_close(struct thread *t) { syscall(SYS_close, some_fd(t)); }

static void op_dup(struct thread *t) { keep((int)syscall(SYS_dup, some_fd(t))); }

static void op_dup2(struct thread *t)
{
	int from = some_fd(t), to = some_fd(t);

#ifdef SYS_dup2
	keep((int)syscall(SYS_dup2, from, to));
#else
	keep((int)syscall(SYS_dup3, from, to, 0)); /* arm64 */
#endif
}

static void op_dup3(struct thread *t)
{
	int from = some_fd(t), to = some_fd(t);

	keep((int)syscall(SYS_dup3, from, to, flag(t, O_CLOEXEC)));
}

static void op_fcntl(struct thread *t)
{
	int from = some_fd(t), least = some_fd(t);

	keep(fcntl(from, flag(t, 1) ? F_DUPFD_CLOEXEC : F_DUPFD, least));
}

static void op_cloexec(struct thread *t)
{
	int fd = some_fd(t);

	fcntl(fd, F_SETFD, flag(t, 1) ? FD_CLOEXEC : 0);
}

static void op_close_range(struct thread *t)
{
	unsigned first = (unsigned)some_fd(t), last = first + draw(t, 8);
	unsigned how = draw(t, 8) ? 0 : CLOSE_RANGE_CLOEXEC;

	syscall(SYS_close_range, first, last, how);
}

static void op_shutdown(struct thread *t)
{
	int fd = some_fd(t);

	shutdown(fd, draw(t, 2) ? SHUT_WR : SHUT_RDWR);
}

union control {
	char space[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static void op_scm_send(struct thread *t)
{
	char c = 'x';
	int through = some_fd(t), what = some_fd(t);
	union control control = {{0}};
	struct iovec data = {&c, 1};
	struct msghdr msg = {.msg_iov = &data, .msg_iovlen = 1,
			     .msg_control = &control, .msg_controllen = sizeof control.space};
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof what);
	memcpy(CMSG_DATA(head), &what, sizeof what);
	sendmsg(through, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void op_scm_recv(struct thread *t)
{
	char c;
	int from = some_fd(t);
	union control control;
	struct iovec data = {&c, 1};
	struct msghdr msg = {.msg_iov = &data, .msg_iovlen = 1,
			     .msg_control = &control, .msg_controllen = sizeof control.space};

	keep((int)recvmsg(from, &msg, MSG_DONTWAIT | flag(t, MSG_CMSG_CLOEXEC)));
}

/* What is opened and what is closed are in balance at about half the limit. */
static void operate(struct thread *t)
{
	static const struct {
		uint32_t weight;
		void (*run)(struct thread *);
	} ops[] = {
		{14, op_socket}, {6, op_socketpair}, {6, op_listen},   {12, op_connect},
		{10, op_accept}, {24, op_close},     {6, op_dup},      {5, op_dup2},
		{4, op_dup3},	 {4, op_fcntl},	     {3, op_cloexec},  {3, op_close_range},
		{2, op_shutdown}, {3, op_scm_send},  {3, op_scm_recv},
	};
	uint32_t total = 0, n;

	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
		total += ops[i].weight;
	n = draw(t, total);
	for (size_t i = 0;; i++) {
		if (n < ops[i].weight) {
			ops[i].run(t);
			return;
		}
		n -= ops[i].weight;
	}
}

#endif
