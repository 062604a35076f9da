/* The operation table as addresses, so that tests call each operation (ctypes) in the very build that ships. */
#include "python/binding.h"     /* first, as Python.h asks */

#include "ops/ops.h"

static PyObject *operations(PyObject *module, PyObject *arguments)
{
    int bf16 = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "|p:operations", &bf16))
        return NULL;
    const km_ops *ops = km_ops_cpu(bf16 ? KM_BF16 : KM_FLOAT32);
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
    {"operations", operations, METH_VARARGS,
     "operations(bf16=False): the operation table: {name: address of the C function}."},
    {NULL, NULL, 0, NULL},
};

int km_binding_operations_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
