/* Any rates and samples: two doubles, the number of leads, then samples of 32 bits. Rates that need more than a
 * million weights are left to the tests: they take seconds, not memory that is not theirs.                     */
#include "fuzz.h"

#include <math.h>

#include "data/preprocess.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    double fs[2];
    km_error err = {0};
    int64_t length = -1;
    if (size < sizeof fs + 1)
        return 0;
    memcpy(fs, data, sizeof fs);
    const int leads = 1 + data[sizeof fs] % KM_LEADS;
    const int64_t n = (int64_t)(size - sizeof fs - 1) / (int64_t)sizeof(float) / leads;
    if (data[sizeof fs] >= 128)             /* rates that are close */
        for (int i = 0; i < 2; i++)
            fs[i] = data[8 * i] * 2 + 1 + data[8 * i + 1] / 16.0;
    const km_status status = km_preprocess_length(&length, n, fs[0], fs[1], &err);
    if (status != KM_OK) {
        FUZZ_HOLDS(status == KM_VALUE && err.message[0] != 0);
        return 0;
    }
    FUZZ_HOLDS(length >= 1);
    if (length > 1024 || fs[0] > 40 * fs[1])
        return 0;
    float *in = fuzz_copy(data + sizeof fs + 1, (size_t)leads * (size_t)n * sizeof *in);
    float *out = malloc((size_t)leads * (size_t)length * sizeof *out);
    uint32_t *scratch = malloc((size_t)length * sizeof *scratch);
    FUZZ_HOLDS(km_preprocess_resample(out, in, leads, n, fs[0], fs[1], 1, &err) == KM_OK);
    for (int lead = 0; lead < leads; lead++) {
        int64_t missing = -1;
        float *x = out + lead * length;
        km_preprocess_usable(&missing, x, length, 0.5);
        FUZZ_HOLDS(missing >= 0 && missing <= length && km_preprocess_repair(x, length) == missing);
        for (int64_t i = 0; i < length; i++)
            FUZZ_HOLDS(isfinite(x[i]));
    }
    km_preprocess_normalise(out, leads, length, (km_normalisation)(data[0] % 4), scratch);
    free(scratch);
    free(out);
    free(in);
    return 0;
}
