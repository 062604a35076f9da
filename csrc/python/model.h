/* The Python types around a model: what other binding files need of them. */
#ifndef KM_BINDING_MODEL_H
#define KM_BINDING_MODEL_H

#include "python/binding.h"

#include "data/batch.h"
#include "model/model.h"

/* A lock that the thread holding it may take again (a training hook reads the parameters it trains). Waiting
 * releases the GIL; it is taken and released with the GIL held.                                              */
typedef struct km_binding_lock {
    PyThread_type_lock lock;
    unsigned long owner;
    long process;               /* that last took it: after a fork a lock that is taken stays taken */
    int depth;
} km_binding_lock;

typedef struct km_binding_model {
    PyObject_HEAD
    km_model *model;
    km_binding_lock lock;
} km_binding_model;

/* 0, or -1 with RuntimeError set: another thread held it when this process was forked, and will not give it back. */
int km_binding_model_acquire(km_binding_model *self);
void km_binding_model_release(km_binding_model *self);

/* object as a Model, or NULL with TypeError set. module is the extension module. */
km_binding_model *km_binding_model_check(PyObject *module, PyObject *object);

/* A dict of arrays as a km_batch (borrowed pointers: keep the dict). With text 0 report, labels and entities are
 * not looked at. 0, or -1 with an exception set.                                                               */
int km_binding_batch(PyObject *dict, km_batch *batch, const km_config *config, int text);

/* {name: copy} of a flat array, and back: exactly the layout's names, shapes and type, finite. 0 or -1. */
PyObject *km_binding_tensors(const km_layout *layout, const km_real *flat);
int km_binding_set_tensors(const km_layout *layout, km_real *flat, PyObject *dict);

#endif
