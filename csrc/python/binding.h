/* What the files of csrc/python share. Only this folder includes Python.h.
 * C accepts exactly C-contiguous arrays of the right type and shape; the Python files convert.       */
#ifndef KM_BINDING_H
#define KM_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL kmerl_ARRAY_API
#ifndef KM_IMPORT_ARRAY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

#include "core/error.h"
#include "core/real.h"

#ifdef KM_DOUBLE
#define KM_NPY_REAL NPY_FLOAT64
#else
#define KM_NPY_REAL NPY_FLOAT32
#endif

/* Raises the Python exception of err->status with its message; returns NULL. If an exception
 * is already set (a hook raised it) it stays.                                                   */
PyObject *km_binding_raise(const km_error *err);

/* Checks an argument and returns it as an array (borrowed), or NULL with TypeError / ValueError set:
 * name is the argument's name, type an NPY_ number, shape has ndim entries, -1 for any length.       */
PyArrayObject *km_binding_array(PyObject *object, const char *name, int type, int ndim, const npy_intp *shape);

/* dict[name], borrowed, or NULL: without an exception where it is not there, with one where memory ran out, which
 * PyDict_GetItemString takes for the same.                                                            */
PyObject *km_binding_item(PyObject *dict, const char *name);

/* A new zeroed array. */
PyObject *km_binding_zeros(int ndim, const npy_intp *shape, int type);

/* The types that other types make or take. The module's attributes of these names can be bound to anything, and an
 * object can say that it is of any class: what is cast is compared with these.                        */
#define KM_BINDING_TYPES(X) X(classes) X(corpus) X(feed) X(model)
typedef struct km_binding_types {
#define X(type) PyTypeObject *type;
    KM_BINDING_TYPES(X)
#undef X
} km_binding_types;

/* Of the extension module: valid as long as it. */
static inline km_binding_types *km_binding_types_of(PyObject *module)
{
    return PyModule_GetState(module);
}

/* Makes a type and adds it to the module; kept, where it is not NULL, gets a reference too. 0 or -1. */
int km_binding_type_add(PyObject *module, PyType_Spec *spec, PyTypeObject **kept);

/* Each noun adds its functions and types to the module: one line in module.c. 0, or -1 with an
 * exception set.                                                                                   */
typedef int km_binding_add(PyObject *module);

#endif
