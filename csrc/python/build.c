/* How this extension was built and what it chose on this processor. */
#include "python/binding.h"     /* first, as Python.h asks */

#include "core/isa.h"
#include "core/threads.h"
#include "ops/cpu/gemm.h"

static PyObject *build_info(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
#ifdef _OPENMP
    int openmp = 1;
#else
    int openmp = 0;
#endif
#ifdef __clang__
    const char *compiler = "clang " __clang_version__;
#else
    const char *compiler = "gcc " __VERSION__;
#endif
    return Py_BuildValue("{s:s, s:O, s:s, s:s, s:s, s:s, s:i, s:i}", "real", KM_REAL_NAME, "openmp",
                         openmp ? Py_True : Py_False, "compiler", compiler, "blas", km_gemm_library(), "blas_details",
                         km_gemm_details(), "isa", km_isa_name(km_isa_get()), "threads",
                         openmp ? km_threads_default() : 1, "processors", km_threads_processors());
}

/* Tests and benchmarks call each kernel in the very build that ships. */
static PyObject *gemm_kernels(PyObject *module, PyObject *arguments)
{
    int bf16 = 0;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "|p:gemm_kernels", &bf16))
        return NULL;
    PyObject *table = PyDict_New();
    for (int isa = 0; table != NULL && isa < KM_ISA_COUNT; isa++) {
        const km_gemm_kernel *kernel = km_gemm_choose((km_isa)isa, bf16 ? KM_BF16 : KM_FLOAT32);
        if (kernel == NULL)
            continue;
        PyObject *address = PyLong_FromVoidPtr((void *)kernel->multiply);
        if (address == NULL || PyDict_SetItemString(table, km_isa_name((km_isa)isa), address) < 0)
            Py_CLEAR(table);
        Py_XDECREF(address);
    }
    return table;
}

static PyMethodDef methods[] = {
    {"build_info", build_info, METH_NOARGS, "How the extension was built: number type, OpenMP, compiler, BLAS."},
    {"gemm_kernels", gemm_kernels, METH_VARARGS,
     "gemm_kernels(bf16=False): the built-in matrix products: {instruction set: address}."},
    {NULL, NULL, 0, NULL},
};

int km_binding_build_add(PyObject *module)
{
    km_error err;
    if (km_isa_check(&err) != KM_OK) {
        km_binding_raise(&err);
        return -1;
    }
    return PyModule_AddFunctions(module, methods);
}
