/* Leaks sockets that are created and never connected: the creator bails out. */
#include "leaker.h"

LEAKS static int leak_here_never(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0); /* LEAK */

	if (fd < 0)
		die("socket");
	return fd;
}

int main(int argc, char **argv)
{
	begin();
	return leaker_main(argc, argv, leak_here_never);
}
