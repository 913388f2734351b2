/*
 * Story 3: a resolver that asks over TCP (RFC 7766), with two worker threads.
 * One path, that of an answer with an error code, leaves without close: the
 * server closes its side (CLOSE-WAIT) or resets (CLOSE), with the rest of the
 * answer unread. The healthy twin closes on that path too, and what is left of
 * its connections is the kernel's: FIN-WAIT-2 and TIME-WAIT.
 *
 *   dns leak|ok ADDRESS PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RCODE_NOERROR = 0, RCODE_REFUSED = 5, HEADER = 12 };

static struct sockaddr_in server;
static int leaking;
static atomic_int closed, reset; /* by the server, and leaked */
static atomic_uint next_id;

/* www.example.test, IN A; the length goes before it. */
static const unsigned char question[] = "\0\0\1\0\0\1\0\0\0\0\0\0\3www\7example\4test\0\0\1\0\1";

static int dial(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* LEAK */
	struct timeval limit = { .tv_sec = 5 };

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&server, sizeof(server))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int ask(int fd, unsigned id)
{
	unsigned char msg[2 + sizeof(question) - 1];

	msg[0] = 0;
	msg[1] = sizeof(question) - 1;
	memcpy(msg + 2, question, sizeof(question) - 1);
	msg[2] = id >> 8;
	msg[3] = id;
	return send(fd, msg, sizeof(msg), MSG_NOSIGNAL) == sizeof(msg) ? 0 : -1;
}

static void resolve(unsigned id)
{
	unsigned char head[2 + HEADER], body[512];
	int fd = dial();

	if (fd < 0)
		return;
	if (ask(fd, id) || recv(fd, head, sizeof(head), MSG_WAITALL) != sizeof(head)) {
		close(fd);
		return;
	}
	if ((head[5] & 0xf) != RCODE_NOERROR) {
		if (leaking) { /* the forgotten close */
			if ((head[5] & 0xf) == RCODE_REFUSED)
				printf("leaked %d dead\n", atomic_fetch_add(&reset, 1) + 1);
			else
				printf("leaked %d peer-closed\n", atomic_fetch_add(&closed, 1) + 1);
			return;
		}
		close(fd);
		return;
	}
	if (recv(fd, body, head[1] - HEADER, MSG_WAITALL) < 0)
		perror("recv");
	close(fd);
}

__attribute__((noreturn)) static void *work(void *unused)
{
	(void)unused;
	for (;;) {
		resolve(atomic_fetch_add(&next_id, 1));
		usleep(1500 * 1000);
	}
}

int main(int argc, char **argv)
{
	pthread_t worker;
	char c;

	if (argc != 4)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	leaking = !strcmp(argv[1], "leak");
	server.sin_family = AF_INET;
	server.sin_port = htons(atoi(argv[3]));
	if (inet_pton(AF_INET, argv[2], &server.sin_addr) != 1)
		return 2;
	printf("peer %s:%s\nready\n", argv[2], argv[3]);
	for (int i = 0; i < 2; i++)
		if (pthread_create(&worker, NULL, work, NULL))
			return 1;
	while (read(0, &c, 1) > 0)
		;
	return 0;
}
