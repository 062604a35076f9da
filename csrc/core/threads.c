#define _GNU_SOURCE
#include "core/threads.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sched.h>
#endif
/* ThreadSanitizer does not see how libgomp's threads wait for one another: under it the loop has plain threads. */
#if defined(__SANITIZE_THREAD__)
#define KM_WATCHED
#include <pthread.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>

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

int km_threads_quota(const char *list, const char *mount)
{
    char line[4096], path[8192];
    const char *group = NULL;
    FILE *file = fopen(list, "r");
    while (file != NULL && group == NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, "0::/", 4) == 0)
            group = line + 3;
    if (file != NULL)
        fclose(file);
    if (group == NULL)
        return 0;
    line[strcspn(line, "\n")] = 0;
    /* A limit anywhere above holds too. In a container the names above may not exist; its own root does. */
    int limit = 0;
    for (char *end = line + strlen(line);; *end = 0) {
        snprintf(path, sizeof path, "%s%s/cpu.max", mount, group);
        long long quota, period;
        file = fopen(path, "r");
        if (file != NULL && fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
            long long whole = quota / period < 1 ? 1 : quota / period;
            if (limit == 0 || whole < limit)
                limit = whole < 4096 ? (int)whole : 4096;
        }
        if (file != NULL)
            fclose(file);
        if (*group == 0)
            return limit;
        end = strrchr(group, '/');
    }
}

int km_threads_processors(void)
{
    static atomic_int quota;        /* of the first call + 1: reading it takes longer than a short answer */
    long n = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        n = CPU_COUNT(&set);
#endif
    if (quota == 0)
        quota = 1 + km_threads_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    if (quota > 1 && quota - 1 < n)
        n = quota - 1;
    return n > 0 ? (int)n : 1;
}

int km_threads_default(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    if (text != NULL) {
        long n = strtol(text, NULL, 10);
        if (n >= 1 && n <= 4096)
            return (int)n;
    }
    return km_threads_processors();
}

#ifdef KM_WATCHED
typedef struct watched {
    km_task *task;
    void *context;
    int count, thread;
    atomic_int *next;
} watched;

static void *watched_work(void *pointer)
{
    const watched *w = pointer;
    for (int i = atomic_fetch_add(w->next, 1); i < w->count; i = atomic_fetch_add(w->next, 1))
        w->task(w->context, i, w->thread);
    return NULL;
}

static void watched_run(int threads, int count, km_task *task, void *context)
{
    atomic_int next = 0;
    pthread_t id[64];
    watched work[64];
    int started = 1;
    for (; started < threads && started < 64; started++) {
        work[started] = (watched){task, context, count, started, &next};
        if (pthread_create(&id[started], NULL, watched_work, &work[started]) != 0)
            break;
    }
    watched_work(&(watched){task, context, count, 0, &next});
    for (int t = 1; t < started; t++)
        pthread_join(id[t], NULL);
}
#endif

void km_threads_run(int threads, int count, km_task *task, void *context)
{
    if (threads > count)
        threads = count;
#ifdef KM_WATCHED
    if (threads > 1) {
        watched_run(threads, count, task, context);
        return;
    }
#endif
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
