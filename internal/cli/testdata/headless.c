/* Leaks sockets in its second thread; the first one has ended. */
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static void *leak(void *arg)
{
	/* For half a minute, whatever happens to the test. */
	for (int i = 0; i < 600; i++) {
		if (socket(AF_INET, SOCK_STREAM, 0) < 0)
			return NULL;
		if (i == 4)
			puts("ready");
		usleep(50000);
	}
	return arg;
}

int main(void)
{
	pthread_t thread;

	setlinebuf(stdout);
	if (pthread_create(&thread, NULL, leak, NULL) != 0)
		return 1;
	pthread_exit(NULL);
}
