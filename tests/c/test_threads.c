#define _GNU_SOURCE
#include "check.h"
#include "core/threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COUNT = 100 };

typedef struct work {
    int threads;
    int runs[COUNT];        /* each written by its own task     */
    int strange[COUNT];     /* 1: thread number out of range    */
} work;

static void task(void *context, int index, int thread)
{
    work *w = context;
    w->runs[index]++;
    w->strange[index] = thread < 0 || thread >= w->threads;
}

static void test_every_task_runs_once(int threads, int count)
{
    work w = {.threads = threads};
    km_threads_run(threads, count, task, &w);
    for (int i = 0; i < COUNT; i++) {
        CHECK(w.runs[i] == (i < count));
        CHECK(!w.strange[i]);
    }
}

static void test_default(void)
{
    setenv("OMP_NUM_THREADS", "3", 1);
    CHECK(km_threads_default() == 3);
    setenv("OMP_NUM_THREADS", "many", 1);
    CHECK(km_threads_default() >= 1);
    setenv("OMP_NUM_THREADS", "-1", 1);
    CHECK(km_threads_default() >= 1);
    unsetenv("OMP_NUM_THREADS");
    CHECK(km_threads_default() >= 1);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    fputs(text, file);
    fclose(file);
}

/* Control groups made up in a folder: a/b below a below the root. */
static void test_quota(void)
{
    char folder[] = "/tmp/km_quota_XXXXXX", path[256], list[256];
    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/a", folder);
    CHECK(mkdir(path, 0700) == 0);
    snprintf(path, sizeof path, "%s/a/b", folder);
    CHECK(mkdir(path, 0700) == 0);
    snprintf(list, sizeof list, "%s/list", folder);
    CHECK(km_threads_quota(list, folder) == 0);                 /* no such file          */
    write_file(folder, "list", "1:cpu:/a\n");
    CHECK(km_threads_quota(list, folder) == 0);                 /* version 1             */
    write_file(folder, "list", "1:cpu:/x\n0::/a/b\n");
    CHECK(km_threads_quota(list, folder) == 0);                 /* nothing limits it     */
    write_file(folder, "a/b/cpu.max", "max 100000\n");
    CHECK(km_threads_quota(list, folder) == 0);
    write_file(folder, "a/cpu.max", "350000 100000\n");
    CHECK(km_threads_quota(list, folder) == 3);                 /* from above, whole     */
    write_file(folder, "a/b/cpu.max", "50000 100000\n");
    CHECK(km_threads_quota(list, folder) == 1);                 /* never 0               */
    write_file(folder, "cpu.max", "200000 100000\n");
    write_file(folder, "list", "0::/not/there\n");
    CHECK(km_threads_quota(list, folder) == 2);                 /* a container's own root */
    write_file(folder, "list", "0::/\n");
    CHECK(km_threads_quota(list, folder) == 2);
    write_file(folder, "cpu.max", "nonsense\n");
    CHECK(km_threads_quota(list, folder) == 0);
    for (const char *const *name = (const char *const[]){"a/b/cpu.max", "a/cpu.max", "cpu.max", "list", NULL}; *name;
         name++) {
        snprintf(path, sizeof path, "%s/%s", folder, *name);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/a/b", folder);
    rmdir(path);
    snprintf(path, sizeof path, "%s/a", folder);
    rmdir(path);
    CHECK(rmdir(folder) == 0);
}

/* A child of a process that used threads does not wait for threads that are gone. */
static void test_fork(void)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        work w = {.threads = 2};
        km_threads_run(2, COUNT, task, &w);
        int runs = 0;
        for (int i = 0; i < COUNT; i++)
            runs += w.runs[i];
        _exit(runs == COUNT ? 0 : 1);
    }
    int status = -1;
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    test_every_task_runs_once(1, COUNT);
    test_every_task_runs_once(2, COUNT);
    test_every_task_runs_once(2, 1);
    test_every_task_runs_once(2, 0);
    test_default();
    test_quota();
    test_fork();
    return check_result();
}
