/* Idle listeners, TCP and AF_UNIX: on one of each a thread is blocked in
 * accept(2), the others are looked at when their owner feels like it. A
 * datagram socket that waits for its first packet sits beside them. */
#include "workload.h"

static int unix_listener(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* An address of no length makes the kernel choose an abstract one. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr.sun_family) < 0 ||
	    listen(fd, 8) < 0)
		die("listen on an AF_UNIX socket");
	return fd;
}

static int udp_socket(void)
{
	struct sockaddr_in addr = loopback(0);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
		die("bind a UDP socket");
	return fd;
}

int main(void)
{
	uint16_t port;

	begin();
	start_thread(echo_server, (void *)(intptr_t)tcp_listener(&port));
	start_thread(echo_server, (void *)(intptr_t)unix_listener());
	tcp_listener(&port);
	unix_listener();
	udp_socket();
	return hold("ready");
}
