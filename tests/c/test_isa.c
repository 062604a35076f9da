#define _GNU_SOURCE
#include "check.h"
#include "core/isa.h"

#include <stdlib.h>
#include <string.h>

int main(void)
{
    km_error err = {0};
    setenv("KMERL_ISA", "mmx", 1);
    CHECK(km_isa_check(&err) == KM_VALUE);
    CHECK(strcmp(err.message, "KMERL_ISA is 'mmx'; allowed values are plain, avx2, avx512, avx512bf16") == 0);
    setenv("KMERL_ISA", "", 1);
    CHECK(km_isa_check(&err) == KM_OK);
    unsetenv("KMERL_ISA");
    CHECK(km_isa_check(&err) == KM_OK);
    CHECK(km_isa_has(KM_ISA_PLAIN));
    for (int isa = 0; isa < KM_ISA_COUNT; isa++) {
        setenv("KMERL_ISA", km_isa_name((km_isa)isa), 1);
        CHECK(km_isa_check(&err) == (km_isa_has((km_isa)isa) ? KM_OK : KM_VALUE));
    }
    setenv("KMERL_ISA", "plain", 1);
    CHECK(km_isa_get() == KM_ISA_PLAIN);
    unsetenv("KMERL_ISA");
    CHECK(km_isa_get() == KM_ISA_PLAIN);    /* read once */
    return check_result();
}
