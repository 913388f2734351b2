/* Leaks COUNT sockets, PAUSE ms apart, and ends. C and C++. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

__attribute__((noinline)) static int leak_here(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0); /* LEAK */

	__asm__ volatile("" ::: "memory");
	return fd;
}

int main(int argc, char **argv)
{
	int count = argc > 1 ? atoi(argv[1]) : 1, pause = argc > 2 ? atoi(argv[2]) : 0;

	while (count--) {
		leak_here();
		usleep(pause * 1000);
	}
}
