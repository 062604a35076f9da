/* A C test is a program: CHECK what must hold, return check_result() from main. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>

static int check_failures;

#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);         \
            check_failures++;                                                               \
        }                                                                                   \
    } while (0)

static inline int check_result(void)
{
    return check_failures != 0;
}

#endif
