/* The twelve leads by name. A lead travels by name, never by position; inside the core it is its canonical
 * id, 0 .. 11 in the order I II III aVR aVL aVF V1 .. V6. This file's table is the only one.              */
#ifndef KM_LEADS_H
#define KM_LEADS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "model/config.h"

/* Orders in circulation. Numbers are canonical ids. */
typedef enum km_leads_order {
    KM_LEADS_CLINICAL,      /* aVR aVL aVF: the canonical order, and most recordings     */
    KM_LEADS_MIMIC,         /* aVR aVF aVL: headers of MIMIC-IV-ECG                      */
    KM_LEADS_PAPER,         /* aVF aVR aVL: the lead sweep of the K-MERL paper (Fig. 6)  */
    KM_LEADS_ORDERS
} km_leads_order;

const char *km_leads_order_name(km_leads_order order);
const int32_t *km_leads_order_get(km_leads_order order);    /* (12) */

/* The name of a canonical id. */
const char *km_leads_name(int id);

/* The id of a name (any case, blanks around it ignored), or -1. text needs no terminating zero. */
int km_leads_find(const char *text, size_t length);

/* How many leads a set (bit i: lead i) has. */
static inline int km_leads_count(uint16_t set)
{
    int count = 0;
    for (; set != 0; set &= (uint16_t)(set - 1))
        count++;
    return count;
}

#endif
