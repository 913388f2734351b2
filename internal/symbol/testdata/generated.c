// Prints an address in memory that it made executable, then waits.
#include <stdio.h>
#include <sys/mman.h>

int main(void)
{
	void *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (code == MAP_FAILED)
		return 1;
	printf("%p\n", (void *)((char *)code + 64));
	fflush(stdout);
	return getchar() == EOF ? 0 : 1;
}
