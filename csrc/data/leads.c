#include "data/leads.h"

static const char *const names[KM_LEADS] = {"I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"};

static const struct {
    const char *name;
    int32_t leads[KM_LEADS];
} orders[KM_LEADS_ORDERS] = {
    [KM_LEADS_CLINICAL] = {"clinical", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
    [KM_LEADS_MIMIC]    = {"mimic",    {0, 1, 2, 3, 5, 4, 6, 7, 8, 9, 10, 11}},
    [KM_LEADS_PAPER]    = {"paper",    {0, 1, 2, 5, 3, 4, 6, 7, 8, 9, 10, 11}},
};

const char *km_leads_order_name(km_leads_order order)
{
    return orders[order].name;
}

const int32_t *km_leads_order_get(km_leads_order order)
{
    return orders[order].leads;
}

const char *km_leads_name(int id)
{
    return names[id];
}

static int is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* ASCII only: the C library's tolower follows the locale. */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

int km_leads_find(const char *text, size_t length)
{
    while (length > 0 && is_blank(text[0])) {
        text++;
        length--;
    }
    while (length > 0 && is_blank(text[length - 1]))
        length--;
    for (int id = 0; id < KM_LEADS; id++) {
        size_t i = 0;
        while (i < length && names[id][i] != '\0' && lower(text[i]) == lower(names[id][i]))
            i++;
        if (i == length && names[id][i] == '\0')
            return id;
    }
    return -1;
}
