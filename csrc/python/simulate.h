/* _kmerl.Feed for other bindings. */
#ifndef KM_BINDING_SIMULATE_H
#define KM_BINDING_SIMULATE_H

#include "python/binding.h"

#include "simulate/feed.h"

/* The feed behind a _kmerl.Feed, which must outlive its use; NULL without an exception for anything else. */
km_feed *km_binding_feed_get(PyObject *module, PyObject *object);

#endif
