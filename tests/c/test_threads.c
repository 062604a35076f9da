#define _GNU_SOURCE
#include "check.h"
#include "core/threads.h"

#include <stdlib.h>
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
    test_fork();
    return check_result();
}
