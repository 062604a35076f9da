#include "python/binding.h"

PyObject *km_binding_raise(const km_error *err)
{
    if (PyErr_Occurred())
        return NULL;
    PyObject *type = PyExc_RuntimeError;
    switch (err->status) {
    case KM_VALUE: type = PyExc_ValueError; break;
    case KM_TYPE: type = PyExc_TypeError; break;
    case KM_KEY: type = PyExc_KeyError; break;
    case KM_INDEX: type = PyExc_IndexError; break;
    case KM_IO: type = PyExc_OSError; break;
    case KM_MEMORY: type = PyExc_MemoryError; break;
    case KM_OK:
    case KM_STATE:
    case KM_STOPPED: break;
    }
    PyErr_SetString(type, err->message);
    return NULL;
}

PyArrayObject *km_binding_array(PyObject *object, const char *name, int type, int ndim, const npy_intp *shape)
{
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be a NumPy array, got %s", name, Py_TYPE(object)->tp_name);
        return NULL;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_TYPE(array) != type || !PyArray_ISCARRAY_RO(array)) {
        PyArray_Descr *expected = PyArray_DescrFromType(type);
        PyErr_Format(PyExc_TypeError, "%s must be a C-contiguous array of %S, got %S%s", name, expected,
                     PyArray_DESCR(array), PyArray_ISCARRAY_RO(array) ? "" : " that is not contiguous");
        Py_XDECREF(expected);
        return NULL;
    }
    if (PyArray_NDIM(array) != ndim) {
        PyErr_Format(PyExc_ValueError, "%s must have %d dimensions, got %d", name, ndim, PyArray_NDIM(array));
        return NULL;
    }
    for (int i = 0; i < ndim; i++) {
        if (shape != NULL && shape[i] >= 0 && PyArray_DIM(array, i) != shape[i]) {
            PyErr_Format(PyExc_ValueError, "%s has length %zd along axis %d, expected %zd", name,
                         (Py_ssize_t)PyArray_DIM(array, i), i, (Py_ssize_t)shape[i]);
            return NULL;
        }
    }
    return array;
}

PyObject *km_binding_zeros(int ndim, const npy_intp *shape, int type)
{
    return PyArray_ZEROS(ndim, (npy_intp *)shape, type, 0);
}

int km_binding_type_add(PyObject *module, PyType_Spec *spec, PyTypeObject **kept)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    const int failed = type == NULL || PyModule_AddType(module, (PyTypeObject *)type) < 0;
    if (!failed && kept != NULL)
        *kept = (PyTypeObject *)Py_NewRef(type);
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

PyObject *km_binding_item(PyObject *dict, const char *name)
{
    PyObject *key = PyUnicode_FromString(name);
    PyObject *item = key != NULL ? PyDict_GetItemWithError(dict, key) : NULL;
    Py_XDECREF(key);
    return item;
}
