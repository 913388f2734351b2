// Prints a stack as a frame-pointer walk of the kernel at the system call in
// libc's socket() gives it, the word at the stack pointer first; then waits.
// leak is how most programs call socket, tail how thin wrappers do.
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define NOINLINE __attribute__((noinline))

static uintptr_t after_syscall(void)
{
	unsigned char *p = (unsigned char *)socket;
	for (int i = 0; i < 256; i++)
		if (p[i] == 0x0f && p[i + 1] == 0x05)
			return (uintptr_t)p + i + 2;
	return 0;
}

static uintptr_t caller, callers_caller;

NOINLINE int wrapper(int type)
{
	return socket(AF_INET, type, 0);
}

NOINLINE int leak(int type)
{
	callers_caller = (uintptr_t)__builtin_return_address(0);
	int fd = CALL(type); // LINE leak
	__asm__ volatile("" ::: "memory");
	return fd + 1;
}

NOINLINE int work(int n)
{
	int fd = leak(n); // LINE work
	return fd + n;
}

int main(void)
{
	int n = work(SOCK_STREAM);
	unsigned char *p = (unsigned char *)leak;
	while (!(p[0] == 0xe8 || (p[0] == 0xff && p[1] == 0x15)))
		p++;
	caller = (uintptr_t)p + (p[0] == 0xe8 ? 5 : 6);
	printf("%lx %lx %lx\n", caller, after_syscall(), callers_caller);
	fflush(stdout);
	return getchar() == EOF ? 0 : n;
}
