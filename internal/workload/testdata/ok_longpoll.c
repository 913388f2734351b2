/* Silent connections that somebody waits on, in each way there is: a thread
 * blocked in recv(2), in poll(2), in epoll_wait(2). Both ends are in this
 * process, and both are waited on. */
#include "workload.h"

#include <sys/epoll.h>

static void *wait_recv(void *arg)
{
	char c;

	if (recv((int)(intptr_t)arg, &c, 1, 0) <= 0)
		die("recv on a silent connection");
	return NULL;
}

static void *wait_poll(void *arg)
{
	struct pollfd in = {(int)(intptr_t)arg, POLLIN, 0};

	if (poll(&in, 1, -1) != 1)
		die("poll on a silent connection");
	return NULL;
}

static void *wait_epoll(void *arg)
{
	struct epoll_event event = {.events = EPOLLIN};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, (int)(intptr_t)arg, &event) < 0 ||
	    epoll_wait(ep, &event, 1, -1) != 1)
		die("epoll on a silent connection");
	return NULL;
}

int main(void)
{
	void *(*waits[])(void *) = {wait_recv, wait_poll, wait_epoll};
	uint16_t port;
	int listener;

	begin();
	listener = tcp_listener(&port);
	for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
		start_thread(waits[i], (void *)(intptr_t)tcp_connect(port));
		start_thread(waits[i], (void *)(intptr_t)tcp_accept(listener));
	}
	close(listener);
	return hold("ready");
}
