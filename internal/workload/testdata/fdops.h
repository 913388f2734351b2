/* fdops is in three files: what a command does (fdops.c), who does it, this
 * thread, another thread or another process (fdops_tasks.h), and addresses and
 * the passing of descriptors (fdops_net.h). */
#ifndef FDOPS_H
#define FDOPS_H

#include "workload.h"

#include <sys/syscall.h>

enum { WORDS = 12, LINE = 256, REPLY = 512 };

/* Carries out a command and writes its answer. Any thread may call it. */
static void obey(const char *line, char reply[REPLY]);

__attribute__((format(printf, 2, 3))) static void answer(char reply[REPLY], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(reply, REPLY, format, args);
	va_end(args);
}

/* The usual answer: the result of a system call, or why it failed. */
static void result(char reply[REPLY], long value)
{
	if (value < 0)
		answer(reply, "err %d", errno);
	else
		answer(reply, "ok %ld", value);
}

/* A whole line to a pipe; false if nobody reads it. */
static bool put_line(int fd, const char *text)
{
	char buf[REPLY + 1];
	int n = snprintf(buf, sizeof buf, "%s\n", text);

	return write(fd, buf, (size_t)n) == n;
}

static bool has_word(char **words, const char *word)
{
	for (; *words; words++)
		if (strcmp(*words, word) == 0)
			return true;
	return false;
}

#endif
