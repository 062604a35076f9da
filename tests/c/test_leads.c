#include "check.h"
#include "data/leads.h"

#include <string.h>

static int find(const char *text)
{
    return km_leads_find(text, strlen(text));
}

static void test_names(void)
{
    for (int id = 0; id < KM_LEADS; id++)
        CHECK(find(km_leads_name(id)) == id);
    CHECK(find("avr") == 3 && find("AVF") == 5 && find(" v6\t") == 11 && find("iii") == 2);
    CHECK(find("") == -1 && find(" ") == -1 && find("V") == -1 && find("V7") == -1 && find("IIII") == -1);
    CHECK(find("I I") == -1 && find("V1x") == -1 && find("v\xb1") == -1);
    CHECK(km_leads_find("IIabc", 2) == 1);      /* no terminating zero needed */
}

static void test_orders(void)
{
    for (int order = 0; order < KM_LEADS_ORDERS; order++) {
        uint16_t seen = 0;
        for (int i = 0; i < KM_LEADS; i++)
            seen |= (uint16_t)(1u << km_leads_order_get((km_leads_order)order)[i]);
        CHECK(seen == 0xfff && km_leads_count(seen) == KM_LEADS);
        CHECK(km_leads_order_name((km_leads_order)order) != NULL);
    }
    CHECK(km_leads_count(0) == 0 && km_leads_count(0x801) == 2);
}

int main(void)
{
    test_names();
    test_orders();
    return check_result();
}
