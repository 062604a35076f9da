/* Between Python's dicts of numbers and the core's structs. */
#ifndef KM_BINDING_CONFIG_H
#define KM_BINDING_CONFIG_H

#include "python/binding.h"

#include "model/config.h"

/* "O&" converter: a dict with every field of km_config by name, masked_leads a sequence of 12 probabilities.
 * Missing and unknown names are errors. 1, or 0 with an exception set.                                     */
int km_binding_config(PyObject *dict, void *config);

#endif
