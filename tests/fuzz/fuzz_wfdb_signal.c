/* A recording of any bytes: the header up to a zero byte, the signal file behind it. Format 16 and MATLAB v4
 * (named .mat, with the file's own header before the samples) are decoded as they would be from files.     */
#include "fuzz.h"
#include "data/wfdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    km_wfdb header;
    km_error err = {0};
    const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
    const size_t length = end != NULL ? (size_t)(end - data) : size, rest = end != NULL ? size - length - 1 : 0;
    char *text = fuzz_copy(data, length);
    unsigned char *bytes = fuzz_copy(end != NULL ? end + 1 : NULL, rest);
    if (km_wfdb_create(&header, text, length, &err) == KM_OK) {
        for (int i = 0; i < header.signal_count; i++) {
            for (int verify = 0; verify < 2; verify++) {
                int64_t samples;
                double scale;
                if (!km_wfdb_readable(&header, i) || km_wfdb_scale(&scale, &header.signal[i], &err) != KM_OK ||
                    km_wfdb_length(&samples, &header, i, rest, verify, &err) != KM_OK)
                    continue;
                FUZZ_HOLDS(samples > 0 && (uint64_t)samples <= rest / 2);
                float *x = malloc((size_t)samples * sizeof *x);
                const km_status status = km_wfdb_decode(x, samples, &header, i, bytes, rest, verify, &err);
                FUZZ_HOLDS(status == KM_OK || (verify && status == KM_VALUE));
                free(x);
            }
        }
    }
    km_wfdb_free(&header);
    free(text);
    free(bytes);
    return 0;
}
