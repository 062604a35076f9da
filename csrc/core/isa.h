/* The processor's vector instructions, chosen at run time. KMERL_ISA=plain, avx2, avx512 or avx512bf16
 * in the environment forces one that the processor has; read once a process.                      */
#ifndef KM_ISA_H
#define KM_ISA_H

#include "core/error.h"

/* Whether the compiler knows AVX-512 BF16. */
#if defined(__x86_64__) && ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 10))
#define KM_AVX512BF16
#endif

typedef enum km_isa {
    KM_ISA_PLAIN,       /* whatever the compiler's baseline is      */
    KM_ISA_AVX2,        /* AVX2 and FMA: 8 floats                   */
    KM_ISA_AVX512,      /* AVX-512 F: 16 floats                     */
    KM_ISA_AVX512BF16,  /* and products of bfloat16                 */
    KM_ISA_COUNT
} km_isa;

/* What is used from now on; a KMERL_ISA that km_isa_check refuses counts as unset. */
km_isa km_isa_get(void);

/* Whether this build and this processor can run it. */
int km_isa_has(km_isa isa);
const char *km_isa_name(km_isa isa);

/* KM_VALUE when KMERL_ISA names no instruction set, or one that is not there. */
km_status km_isa_check(km_error *err);

#endif
