/* Unit tests of csrc/core, in plain C.
 *
 *   test_core list               the names of all cases
 *   test_core CASE DIRECTORY     runs one; DIRECTORY is empty and may be used
 */
#include <string.h>

#include "check.h"

int
main(int argc, char **argv)
{
    const test_case *const groups[] = {
        block_read_tests, buffer_and_hash_tests, ring_tests,
        strided_tests,    atomic_file_tests,     layout_tests,
        memory_tests,     sidecar_layout_tests,  place_tests,
        file_copy_tests,  dump_end_tests,        utf8_tests,
        read_ahead_tests,
    };
    if (argc < 2) {
        fprintf(stderr, "usage: test_core list | CASE DIRECTORY\n");
        return 2;
    }
    int is_list = strcmp(argv[1], "list") == 0;
    for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
        for (const test_case *test = groups[i]; test->name; test++) {
            if (is_list) {
                puts(test->name);
            }
            else if (strcmp(argv[1], test->name) == 0) {
                test->run(argc > 2 ? argv[2] : ".");
                return 0;
            }
        }
    }
    if (!is_list) {
        fprintf(stderr, "no such case: %s\n", argv[1]);
        return 2;
    }
    return 0;
}
