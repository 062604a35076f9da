/* Runs a target once on each file named: the corpus as a plain test, with any compiler. */
#include "fuzz.h"

int main(int count, char **paths)
{
    if (count < 2) {
        fprintf(stderr, "no inputs\n");
        return 1;
    }
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");
        long size;
        if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
            fprintf(stderr, "%s cannot be read\n", paths[i]);
            return 1;
        }
        rewind(file);
        uint8_t *data = malloc((size_t)size + 1);
        FUZZ_HOLDS(fread(data, 1, (size_t)size, file) == (size_t)size);
        fclose(file);
        LLVMFuzzerTestOneInput(data, (size_t)size);
        free(data);
    }
    return 0;
}
