/* Eight threads that make a socket in turn, twenty times a second together. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

__attribute__((noinline)) static int make_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0); /* SOCKET */

	__asm__ volatile("" ::: "memory");
	return fd;
}

static void *work(void *arg)
{
	for (;;) {
		close(make_socket());
		usleep(400000);
	}
	return arg;
}

int main(void)
{
	for (int i = 0; i < 8; i++) {
		pthread_t t;

		if (pthread_create(&t, NULL, work, NULL))
			abort();
		usleep(50000);
	}
	pause();
}
