#include "check.h"
#include "core/error.h"

#include <string.h>

int main(void)
{
    km_error err = {0};
    CHECK(km_error_set(&err, KM_VALUE, "fs is %d Hz, expected %s", 0, "1 to 100000") == KM_VALUE);
    CHECK(err.status == KM_VALUE);
    CHECK(strcmp(err.message, "fs is 0 Hz, expected 1 to 100000") == 0);
    CHECK(km_error_set(NULL, KM_IO, "nobody listens") == KM_IO);

    /* A long message is cut, never overrun. */
    char text[2000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    CHECK(km_error_set(&err, KM_KEY, "%s", text) == KM_KEY);
    CHECK(strlen(err.message) == sizeof err.message - 1);
    return check_result();
}
