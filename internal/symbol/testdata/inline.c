// Prints where report was called from, then waits.
#include <stdio.h>
#include <string.h>

__attribute__((noinline)) void report(void)
{
	printf("%p\n", __builtin_return_address(0));
	fflush(stdout);
}

static inline __attribute__((always_inline)) void innermost(void)
{
	report(); // LINE innermost
	__asm__ volatile("" ::: "memory");
}

static inline __attribute__((always_inline)) void middle(void)
{
	innermost(); // LINE middle
}

// The linker puts this section before .text, the line table after it.
#ifdef UNLIKELY
__attribute__((section(".text.unlikely")))
#endif
__attribute__((noinline)) int outer(int n)
{
	middle(); // LINE outer
	return n + 1;
}

int main(int argc, char **argv)
{
	(void)argv;
	int n = outer(argc);
	if (getchar() == EOF)
		return 0;
	return n;
}
