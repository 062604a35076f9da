/* The operation table as addresses, so that tests call each operation (ctypes) in the very build that ships. */
#include "python/binding.h"     /* first, as Python.h asks */

#include "ops/ops.h"

static PyObject *operations(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    const km_ops *ops = km_ops_cpu();
    PyObject *table = PyDict_New();
    if (table == NULL)
        return NULL;
#define X(operation)                                                                \
    {                                                                               \
        PyObject *address = PyLong_FromVoidPtr((void *)ops->operation);             \
        if (address == NULL || PyDict_SetItemString(table, #operation, address) < 0) { \
            Py_XDECREF(address);                                                    \
            Py_DECREF(table);                                                       \
            return NULL;                                                            \
        }                                                                           \
        Py_DECREF(address);                                                         \
    }
    KM_OPERATIONS(X)
#undef X
    return table;
}

static PyMethodDef methods[] = {
    {"operations", operations, METH_NOARGS, "The operation table: {name: address of the C function}."},
    {NULL, NULL, 0, NULL},
};

int km_binding_operations_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
