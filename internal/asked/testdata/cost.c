/* Makes, binds and closes handles of libuv, to measure by: for each line on standard
 * input with a number so many, and writes the CPU time that took, in us. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <uv.h>

static double used(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

int main(void)
{
	uv_loop_t *loop = uv_default_loop();
	struct sockaddr_in any;
	char line[32];

	uv_ip4_addr("127.0.0.1", 0, &any);
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		double began = used();

		for (int n = atoi(line); n > 0; n--) {
			uv_tcp_t h;

			if (uv_tcp_init(loop, &h) || uv_tcp_bind(&h, (struct sockaddr *)&any, 0))
				return 1;
			uv_close((uv_handle_t *)&h, NULL);
			uv_run(loop, UV_RUN_DEFAULT);
		}
		printf("%.0f\n", used() - began);
		fflush(stdout);
	}
	return 0;
}
