#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>

km_status km_error_set(km_error *err, km_status status, const char *format, ...)
{
    if (err != NULL) {
        va_list arguments;
        va_start(arguments, format);
        err->status = status;
        vsnprintf(err->message, sizeof err->message, format, arguments);
        va_end(arguments);
    }
    return status;
}
