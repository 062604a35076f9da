/* How this extension was built. */
#include "python/binding.h"     /* first, as Python.h asks */

#include "core/threads.h"

static PyObject *build_info(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
#ifdef _OPENMP
    int openmp = 1;
#else
    int openmp = 0;
#endif
    return Py_BuildValue("{s:s, s:O, s:s, s:i}", "real", KM_REAL_NAME, "openmp", openmp ? Py_True : Py_False,
                         "compiler", __VERSION__, "threads", km_threads_default());
}

static PyMethodDef methods[] = {
    {"build_info", build_info, METH_NOARGS, "How the extension was built: number type, OpenMP, compiler."},
    {NULL, NULL, 0, NULL},
};

int km_binding_build_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
