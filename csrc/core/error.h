/* Status codes and messages. A fallible function returns km_status and fills the caller's
 * km_error: which argument, what came, what was expected.                                  */
#ifndef KM_ERROR_H
#define KM_ERROR_H

typedef enum km_status {
    KM_OK = 0,
    KM_VALUE,       /* an argument's value is not allowed         -> ValueError        */
    KM_TYPE,        /* an argument's type or layout               -> TypeError         */
    KM_KEY,         /* a name that does not exist                 -> KeyError          */
    KM_INDEX,       /* a position out of range                    -> IndexError        */
    KM_IO,          /* a file                                     -> OSError           */
    KM_MEMORY,      /* an allocation failed                       -> MemoryError       */
    KM_STATE,       /* the object is not ready for this call      -> RuntimeError      */
    KM_STOPPED      /* the caller's hook asked to stop            -> its own exception */
} km_status;

typedef struct km_error {
    km_status status;
    char message[512];
} km_error;

#if defined(__GNUC__)
#define KM_PRINTF(at, first) __attribute__((format(printf, at, first)))
#else
#define KM_PRINTF(at, first)
#endif

/* Fills err (which may be NULL) and returns status, so that callers write `return km_error_set(...)`. */
km_status km_error_set(km_error *err, km_status status, const char *format, ...) KM_PRINTF(3, 4);

#endif
