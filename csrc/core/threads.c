#define _GNU_SOURCE
#include "core/threads.h"

#include <stdlib.h>
#include <unistd.h>

#ifdef __linux__
#include <sched.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>

/* OpenMP's threads do not survive a fork: a child that asked for them would wait for ever. */
static atomic_int forked;
static atomic_int used;
static pthread_once_t watching = PTHREAD_ONCE_INIT;

static void in_child(void)
{
    forked = used;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}
#endif

int km_threads_default(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    if (text != NULL) {
        long n = strtol(text, NULL, 10);
        if (n >= 1 && n <= 4096)
            return (int)n;
    }
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

void km_threads_run(int threads, int count, km_task *task, void *context)
{
    if (threads > count)
        threads = count;
#ifdef _OPENMP
    if (threads > 1 && !forked) {
        pthread_once(&watching, watch_forks);
        used = 1;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
        for (int i = 0; i < count; i++)
            task(context, i, omp_get_thread_num());
        return;
    }
#endif
    for (int i = 0; i < count; i++)
        task(context, i, 0);
}
