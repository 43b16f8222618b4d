/* Runs a fuzz target once on each of the files named, without libFuzzer. */
#include "fuzz.h"

int
main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        unsigned char *data;
        long n_bytes;
        CHECK(file != NULL);
        CHECK(fseek(file, 0, SEEK_END) == 0);
        n_bytes = ftell(file);
        CHECK(n_bytes >= 0 && fseek(file, 0, SEEK_SET) == 0);
        data = malloc((size_t)n_bytes + 1);
        CHECK(data != NULL);
        CHECK(fread(data, 1, (size_t)n_bytes, file) == (size_t)n_bytes);
        fclose(file);
        (void)LLVMFuzzerTestOneInput(data, (size_t)n_bytes);
        free(data);
    }
    return 0;
}
