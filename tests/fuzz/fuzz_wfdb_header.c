/* A header of any bytes: what is accepted is consistent, and every question about it can be asked. */
#include "fuzz.h"
#include "data/wfdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    km_wfdb header;
    km_error err = {0};
    char *text = fuzz_copy(data, size);
    if (km_wfdb_create(&header, text, size, &err) == KM_OK) {
        const size_t count = (size_t)header.signal_count;
        int *rows = malloc((count + 1) * sizeof *rows), row_count;
        const int limb[2] = {1, 0};
        FUZZ_HOLDS(header.signal_count >= 0 && header.samples >= 0 && header.fs > 0);
        km_wfdb_select(rows, &row_count, &header, limb, 2, 1, &err);
        for (int strict = 0; strict < 2; strict++)
            if (km_wfdb_select(rows, &row_count, &header, NULL, 0, strict, &err) == KM_OK)
                for (int i = 0; i < row_count; i++)
                    FUZZ_HOLDS(rows[i] >= 0 && rows[i] < header.signal_count);
        for (int i = 0; i < header.signal_count; i++) {
            double scale;
            int64_t samples;
            FUZZ_HOLDS(header.signal[i].gain != 0 && header.signal[i].column < km_wfdb_width(&header, i));
            km_wfdb_scale(&scale, &header.signal[i], &err);
            if (km_wfdb_readable(&header, i) && km_wfdb_length(&samples, &header, i, 1u << 20, 0, &err) == KM_OK)
                FUZZ_HOLDS(samples > 0 && samples <= 1 << 19);
        }
        free(rows);
    } else {
        FUZZ_HOLDS(err.message[0] != 0 && header.signal == NULL);
    }
    km_wfdb_free(&header);
    free(text);
    return 0;
}
