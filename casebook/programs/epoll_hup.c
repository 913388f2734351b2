/* An epoll server echoes lines. Clients leave in two ways: with FIN, and with
 * RST (SO_LINGER 0, as a client that crashed with unread data sends).
 *
 * Forgets: on EPOLLRDHUP, EPOLLHUP and EPOLLERR it only takes the descriptor
 * out of the epoll set, so that it is not told again.
 * The healthy twin closes, which takes it out as well.
 *
 *   epoll_hup leak|ok fin|rst */
#include "further.h"
#include <sys/epoll.h>

static void client(const struct sockaddr_in *server, bool reset)
{
	struct linger now = {.l_onoff = 1};

	for (;; sleep(1)) {
		int fd = connect_to(server);

		if (!ask(fd) || (reset && setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) < 0))
			die("ask the server");
		close(fd);
	}
}

static void watch(int set, int fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};

	if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

__attribute__((noinline)) static int accept_client(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC); /* LEAK */

	if (fd < 0)
		die("accept");
	return fd;
}

static void echo(int fd)
{
	char line[256];
	ssize_t n = read(fd, line, sizeof line);

	if (n > 0 && write(fd, line, (size_t)n) != n)
		die("echo");
}

static void serve(int listener, bool forgets)
{
	int set = epoll_create1(EPOLL_CLOEXEC), leaked = 0;
	struct epoll_event event;

	watch(set, listener);
	while (epoll_wait(set, &event, 1, -1) == 1 || errno == EINTR) {
		int fd = event.data.fd;

		if (fd == listener) {
			watch(set, accept_client(listener));
		} else if (!(event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
			echo(fd);
		} else if (forgets) {
			epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL);
			printf("leaked %d\n", ++leaked);
		} else {
			close(fd);
		}
	}
	die("epoll_wait");
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr;
	int listener;

	if (argc != 3)
		return 2;
	listener = listen_on_loopback(&addr, SOCK_CLOEXEC);
	if (helper() == 0) {
		close(listener);
		client(&addr, strcmp(argv[2], "rst") == 0);
	}
	begin();
	printf("ready\n");
	serve(listener, strcmp(argv[1], "leak") == 0);
}
