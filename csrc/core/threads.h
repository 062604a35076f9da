/* The one parallel loop. Tasks must not depend on which thread runs them: everything that is
 * summed is summed per task or per lane and joined in a fixed order, so results are the same to
 * the last bit on any number of threads.                                                        */
#ifndef KM_THREADS_H
#define KM_THREADS_H

typedef void km_task(void *context, int index, int thread);

/* Whole processors that control groups (version 2) leave a process, at least 1; 0 without a limit. list is the
 * file of its groups, /proc/self/cgroup, mount where they are.                                              */
int km_threads_quota(const char *list, const char *mount);

/* Processors that this process may use: affinity and control groups, the latter as at the first call. At least 1. */
int km_threads_processors(void);

/* OMP_NUM_THREADS if set, else km_threads_processors. */
int km_threads_default(void);

/* Runs task(context, 0 .. count - 1, thread) on up to `threads` threads; thread is in 0 .. threads - 1.
 * In a process forked after threads were used, and in a build without OpenMP, the calling thread
 * runs all of them.                                                                                  */
void km_threads_run(int threads, int count, km_task *task, void *context);

#endif
