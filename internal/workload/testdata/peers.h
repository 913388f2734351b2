/* The peers of leak_classes, in the program itself: each shows it another end. */
#ifndef PEERS_H
#define PEERS_H

#include "workload.h"

#include <linux/filter.h>
#include <netinet/tcp.h>

static uint16_t farewell_port, reset_port, full_port, refused_port, hung_port, deaf_port, gateway_port, echo_port;
static int reset_listener, deaf_listener, gateway_listener, local_listener;
static struct sockaddr_un local;
static socklen_t local_len;

static void set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof value) < 0)
		die("setsockopt");
}

/* Inlined, so that the function that leaks is the caller of socket(). */
#define INLINED static inline __attribute__((always_inline))

/* A connection to the port, established or not: that is what the test is about. */
INLINED int dial(uint16_t port, int flags)
{
	struct sockaddr_in addr = loopback(port);
	int fd = socket(AF_INET, SOCK_STREAM | flags, 0);

	if (fd < 0)
		die("socket");
	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0 && errno != ECONNREFUSED && errno != EINPROGRESS)
		die("connect");
	return fd;
}

/* Closes each connection as soon as it is there. */
static void *closing_server(void *arg)
{
	for (;;)
		close(tcp_accept((int)(intptr_t)arg));
	return NULL;
}

/* A connection whose other end, from now on, throws away all that arrives before
 * TCP sees it (tcp_filter): as if the wire were cut. */
INLINED int dial_deaf(void)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog all = {1, &drop};
	int fd = dial(deaf_port, SOCK_CLOEXEC);

	if (setsockopt(tcp_accept(deaf_listener), SOL_SOCKET, SO_ATTACH_FILTER, &all, sizeof all) < 0)
		die("deafen the peer");
	return fd;
}

/* A device, and its connection as both ends have it. */
struct link {
	int device, server;
};

static uint32_t device; /* the newest one's number */

/* Each has an address of its own, from 127.1.0.1 on. */
static void new_device(void) { device++; }

/* libc's accept4() is called from here, where its own frame hides the caller from a
 * walk by frame pointers, and not from the function that leaks. */
static __attribute__((noinline)) struct link admit_device(void)
{
	struct sockaddr_in own = loopback(0), gateway = loopback(gateway_port);
	struct link l = {.device = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};

	own.sin_addr.s_addr = htonl((INADDR_LOOPBACK & ~0xffffffU) + 0x10000 + device);
	if (l.device < 0 || bind(l.device, (struct sockaddr *)&own, sizeof own) < 0 ||
	    connect(l.device, (struct sockaddr *)&gateway, sizeof gateway) < 0)
		die("connect a device");
	l.server = tcp_accept(gateway_listener);
	return l;
}

/* The device says something, and is answered. */
static void pass(struct link l)
{
	char buf[8] = "alive";

	if (write(l.device, buf, sizeof buf) != sizeof buf ||
	    recv(l.server, buf, sizeof buf, MSG_WAITALL) != sizeof buf ||
	    write(l.server, buf, sizeof buf) != sizeof buf ||
	    recv(l.device, buf, sizeof buf, MSG_WAITALL) != sizeof buf)
		die("talk to a device");
}

/* Those that keep_passing was given. */
static struct link busy[1024];
static uint32_t busy_count;

static void *heartbeat(void *arg)
{
	(void)arg;
	for (;;) {
		for (uint32_t i = 0; i < __atomic_load_n(&busy_count, __ATOMIC_ACQUIRE); i++)
			pass(busy[i]);
		sleep_ms(100);
	}
	return NULL;
}

static void keep_passing(struct link l)
{
	if (busy_count == sizeof busy / sizeof *busy)
		die("remember a device");
	busy[busy_count] = l;
	__atomic_store_n(&busy_count, busy_count + 1, __ATOMIC_RELEASE);
}

/* A port on which connects stay unanswered: its queue is full, and nobody
 * accepts (listen(2); the kernel lets in one more than the backlog says). */
static void fill(uint16_t *port)
{
	int listener = tcp_listener(port);

	if (listen(listener, 0) < 0)
		die("listen");
	tcp_connect(*port);
}

/* At a name of the kernel's choice (unix(7), autobind). */
static void listen_locally(void)
{
	local.sun_family = AF_UNIX;
	local_len = sizeof local;
	local_listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (local_listener < 0 || bind(local_listener, (struct sockaddr *)&local, sizeof local.sun_family) < 0 ||
	    listen(local_listener, 8) < 0 || getsockname(local_listener, (struct sockaddr *)&local, &local_len) < 0)
		die("listen locally");
}

static void set_up(void)
{
	/* Its connections have it too: they are closed by a reset. */
	struct linger at_once = {.l_onoff = 1};

	reset_listener = tcp_listener(&reset_port);
	if (setsockopt(reset_listener, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) < 0)
		die("setsockopt");
	start_thread(closing_server, (void *)(intptr_t)tcp_listener(&farewell_port));
	start_thread(echo_server, (void *)(intptr_t)tcp_listener(&echo_port));
	start_thread(heartbeat, NULL);
	close(tcp_listener(&refused_port));
	fill(&full_port);
	tcp_listener(&hung_port); /* only the kernel answers */
	deaf_listener = tcp_listener(&deaf_port);
	gateway_listener = tcp_listener(&gateway_port);
	listen_locally();
}

#endif
