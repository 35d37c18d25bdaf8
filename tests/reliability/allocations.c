/* An allocator that fails when it is told to: LD_PRELOAD this, and call fail_from(n, for_good) to make the n-th
   allocation from now fail, and with for_good all of 1 KiB and more after it. allocations() counts since then. */

#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
static atomic_long since = 0, first = 0;
static int good = 0;

void fail_from(long n, int for_good)
{
    good = for_good;
    since = 0;
    first = n;
}

long allocations(void) { return since; }

static int fails(size_t size)
{
    if (!first)
        return 0;
    long number = ++since;
    if (number == first || (good && number > first && size >= 1024)) {
        errno = ENOMEM;
        return 1;
    }
    return 0;
}

void *malloc(size_t size) { return fails(size) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fails(count * size) ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return fails(size) ? NULL : __libc_realloc(old, size); }
