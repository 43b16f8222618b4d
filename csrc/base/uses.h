/* What a name may be used for in a restricted load, as
 * pypkg/fastpersist/policy/rows.py has it.
 */
#ifndef FP_USES_H
#define FP_USES_H

enum {
    FP_MAY_CALL = 1,
    FP_MAY_NEW = 2,
    FP_MAY_BUILD = 4,
    FP_MAY_ITEMS = 8,
    FP_MUST_BUILD = 32, /* what CALL makes has got its state at the end */
    FP_MAY_ALL = 16,    /* named by the caller: any arguments, any state */
};

#endif
