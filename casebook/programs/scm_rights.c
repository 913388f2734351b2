/* A front process accepts connections and passes them to a worker process over
 * a socketpair (SCM_RIGHTS), as servers do that restart without dropping
 * anybody. The worker answers and closes.
 *
 * Forgets: the worker, when the request is one that it refuses, closes nothing.
 * The healthy twin closes then too.
 *
 *   scm_rights leak|ok */
#include "further.h"

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

static void client(const struct sockaddr_in *server)
{
	for (;; sleep(1)) {
		int fd = connect_to(server);

		if (!ask(fd))
			die("ask the server");
		close(fd);
	}
}

static struct msghdr message(struct iovec *iov, union control *control)
{
	return (struct msghdr){.msg_iov = iov, .msg_iovlen = 1, .msg_control = control->space,
			       .msg_controllen = sizeof control->space};
}

static void pass(int channel, int fd)
{
	char byte = 'c';
	struct iovec iov = {&byte, 1};
	union control control = {0};
	struct msghdr msg = message(&iov, &control);
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
	if (sendmsg(channel, &msg, 0) != 1)
		die("pass a connection");
}

static int receive(int channel)
{
	char byte;
	struct iovec iov = {&byte, 1};
	union control control = {0};
	struct msghdr msg = message(&iov, &control);
	int fd;

	switch (recvmsg(channel, &msg, MSG_CMSG_CLOEXEC)) {
	case 0:
		exit(0); /* the front process has ended */
	case 1:
		if (CMSG_FIRSTHDR(&msg))
			break;
		/* fallthrough */
	default:
		die("receive a connection");
	}
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof fd);
	return fd;
}

static void worker(int channel, bool forgets)
{
	char line[64];
	int leaked = 0;

	for (;;) {
		int fd = receive(channel);

		if (read(fd, line, sizeof line) <= 0 || write(fd, "refused\n", 8) != 8)
			die("answer");
		if (forgets)
			printf("leaked %d\n", ++leaked);
		else
			close(fd);
	}
}

__attribute__((noinline)) static void accept_and_pass(int listener, int channel)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LEAK */

	if (fd < 0)
		die("accept");
	pass(channel, fd);
	close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr;
	int listener, channel[2];

	if (argc != 2 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) < 0)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	listener = listen_on_loopback(&addr, SOCK_CLOEXEC);
	if (helper() == 0) {
		close(listener);
		close(channel[0]);
		worker(channel[1], strcmp(argv[1], "leak") == 0);
	}
	close(channel[1]);
	if (helper() == 0) {
		close(listener);
		close(channel[0]);
		client(&addr);
	}
	begin();
	printf("ready\n");
	for (;;)
		accept_and_pass(listener, channel[0]);
}
