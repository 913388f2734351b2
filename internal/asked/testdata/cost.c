/* Makes, binds and closes handles of libuv, to measure by; or with "switch" has its
 * first thread give way to another one and wait for it. For each line on standard
 * input with a number it does so many times, and writes the CPU time that took, in
 * us. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

static double used(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static int there[2], back[2];

/* Sends everything back. */
static void *echo(void *arg)
{
	char c;

	while (read(there[0], &c, 1) == 1 && write(back[1], &c, 1) == 1)
		;
	return arg;
}

static int give_way(void)
{
	char c = 0;

	return write(there[1], &c, 1) == 1 && read(back[0], &c, 1) == 1;
}

static int handle(uv_loop_t *loop)
{
	struct sockaddr_in any;
	uv_tcp_t h;

	uv_ip4_addr("127.0.0.1", 0, &any);
	if (uv_tcp_init(loop, &h) || uv_tcp_bind(&h, (struct sockaddr *)&any, 0))
		return 0;
	uv_close((uv_handle_t *)&h, NULL);
	uv_run(loop, UV_RUN_DEFAULT);
	return 1;
}

int main(int argc, char **argv)
{
	int switches = argc > 1 && !strcmp(argv[1], "switch");
	uv_loop_t *loop = uv_default_loop();
	pthread_t other;
	char line[32];

	if (switches && (pipe(there) || pipe(back) || pthread_create(&other, NULL, echo, NULL)))
		return 1;
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		double began = used();

		for (int n = atoi(line); n > 0; n--) {
			if (!(switches ? give_way() : handle(loop)))
				return 1;
		}
		printf("%.0f\n", used() - began);
		fflush(stdout);
	}
	return 0;
}
