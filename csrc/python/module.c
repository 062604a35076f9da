/* The extension module kmerl._kmerl: multi-phase initialisation, one line a noun. */
#define KM_IMPORT_ARRAY
#include "python/binding.h"

#define KM_NOUNS(X) \
    X(answer)          \
    X(build)           \
    X(config)          \
    X(corpus)          \
    X(labels)          \
    X(metrics)         \
    X(model)           \
    X(operations)      \
    X(probe)           \
    X(record)          \
    X(sampler)         \
    X(simulate)        \
    X(text)            \
    X(trainer)

#define X(noun) km_binding_add km_binding_##noun##_add;
KM_NOUNS(X)
#undef X

/* A free-threaded Python turns its lock on for modules that need it, unless it was told not to: -1 there. */
static int check_gil(void)
{
    PyObject *ask = PySys_GetObject("_is_gil_enabled");     /* borrowed; from Python 3.13 on */
    if (ask == NULL)
        return 0;
    PyObject *answer = PyObject_CallNoArgs(ask);
    const int enabled = answer != NULL ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (enabled == 0)
        PyErr_SetString(PyExc_ImportError, "kmerl needs Python's global interpreter lock, which PYTHON_GIL=0 or "
                                           "-X gil=0 keeps off: start Python without it");
    return enabled == 1 ? 0 : -1;
}

static int execute(PyObject *module)
{
    /* Hooks of long calls come back through PyGILState_Ensure, which knows the main interpreter only. */
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "kmerl runs in the main interpreter only, not in sub-interpreters: use "
                                           "threads or processes");
        return -1;
    }
    if (check_gil() < 0 || _import_array() < 0)
        return -1;
#define X(noun)                                 \
    if (km_binding_##noun##_add(module) < 0)    \
        return -1;
    KM_NOUNS(X)
#undef X
    return 0;
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    km_binding_types *types = km_binding_types_of(module);
#define X(type) Py_VISIT(types->type);
    KM_BINDING_TYPES(X)
#undef X
    return 0;
}

static int clear(PyObject *module)
{
    km_binding_types *types = km_binding_types_of(module);
#define X(type) Py_CLEAR(types->type);
    KM_BINDING_TYPES(X)
#undef X
    return 0;
}

static void release(void *module)
{
    clear(module);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_kmerl",
    .m_doc = "The C core of kmerl.",
    .m_size = sizeof(km_binding_types),
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC PyInit__kmerl(void)
{
    return PyModuleDef_Init(&definition);
}
