/* The linear probe: features (N, C) of the build's number type, outcomes (N, K) uint8, as kmerl/probe.py makes them. */
#include "python/binding.h"

#include "eval/probe.h"

static int data_check(km_probe_data *data, PyObject *x_object, PyObject *y_object, const char *x_name,
                      const char *y_name, npy_intp *C, npy_intp *K)
{
    npy_intp shape[2] = {-1, *C};
    PyArrayObject *x = km_binding_array(x_object, x_name, KM_NPY_REAL, 2, shape);
    if (x == NULL)
        return -1;
    npy_intp outcomes[2] = {PyArray_DIM(x, 0), *K};
    PyArrayObject *y = km_binding_array(y_object, y_name, NPY_UINT8, 2, outcomes);
    if (y == NULL)
        return -1;
    *C = PyArray_DIM(x, 1);
    *K = PyArray_DIM(y, 1);
    *data = (km_probe_data){PyArray_DATA(x), PyArray_DATA(y), PyArray_DIM(x, 0)};
    return 0;
}

/* Calls the Python function with the number of epochs done; Ctrl-C is heard. */
static int epoch_hook(void *context, int epochs)
{
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *answer = PyObject_CallFunction(context, "i", epochs);
    int stop = answer == NULL || PyErr_CheckSignals() != 0;
    Py_XDECREF(answer);
    PyGILState_Release(state);
    return stop;
}

static PyObject *probe_fit(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static char *names[] = {"x", "y", "x_validation", "y_validation", "x_watched", "y_watched", "seeds", "epochs",
                            "batch_size", "warmup_steps", "lr", "beta1", "beta2", "eps", "threads", "hook", NULL};
    PyObject *x, *y, *xv, *yv, *xw, *yw, *seed_object, *hook;
    km_probe_settings s;
    km_probe_data train, validation, watched;
    npy_intp any[1] = {-1}, C = -1, K = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOOOOiiiddddiO", names, &x, &y, &xv, &yv, &xw, &yw,
                                     &seed_object, &s.epochs, &s.batch_size, &s.warmup_steps, &s.lr, &s.beta1,
                                     &s.beta2, &s.eps, &s.threads, &hook))
        return NULL;
    PyArrayObject *seeds = km_binding_array(seed_object, "seeds", NPY_UINT64, 1, any);
    if (seeds == NULL || data_check(&train, x, y, "x", "y", &C, &K) < 0
        || data_check(&validation, xv, yv, "x_validation", "y_validation", &C, &K) < 0
        || data_check(&watched, xw, yw, "x_watched", "y_watched", &C, &K) < 0)
        return NULL;
    if (!PyCallable_Check(hook))
        return PyErr_Format(PyExc_TypeError, "hook must be callable, got %s", Py_TYPE(hook)->tp_name);
    npy_intp S = PyArray_DIM(seeds, 0);
    if (C > INT32_MAX / 64 || K > INT32_MAX / 64 || S > INT32_MAX / 64)
        return PyErr_Format(PyExc_OverflowError, "features (%zd), classes (%zd) and seeds (%zd) must be 33,554,431 at "
                            "most", (Py_ssize_t)C, (Py_ssize_t)K, (Py_ssize_t)S);
    s.C = (int)C;
    s.K = (int)K;
    if (s.epochs < 1)
        return PyErr_Format(PyExc_ValueError, "epochs must be at least 1, got %d", s.epochs);
    npy_intp shapes[3] = {S, K, C}, epochs[2] = {S, s.epochs};
    PyObject *weight = km_binding_zeros(3, shapes, KM_NPY_REAL), *bias = km_binding_zeros(2, shapes, KM_NPY_REAL);
    PyObject *epoch = km_binding_zeros(1, shapes, NPY_INT32), *scores = km_binding_zeros(2, epochs, NPY_FLOAT64);
    PyObject *others = km_binding_zeros(2, epochs, NPY_FLOAT64), *result = NULL;
    if (weight == NULL || bias == NULL || epoch == NULL || scores == NULL || others == NULL)
        goto exit;
    km_error err;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_probe_fit(PyArray_DATA((PyArrayObject *)weight), PyArray_DATA((PyArrayObject *)bias),
                          PyArray_DATA((PyArrayObject *)epoch), PyArray_DATA((PyArrayObject *)scores),
                          PyArray_DATA((PyArrayObject *)others), &train, &validation, &watched,
                          PyArray_DATA(seeds), (int)S, &s, epoch_hook, hook, &err);
    Py_END_ALLOW_THREADS
    if (status != KM_OK)
        km_binding_raise(&err);
    else
        result = PyTuple_Pack(5, weight, bias, epoch, scores, others);

exit:
    Py_XDECREF(weight);
    Py_XDECREF(bias);
    Py_XDECREF(epoch);
    Py_XDECREF(scores);
    Py_XDECREF(others);
    return result;
}

static PyObject *probe_apply(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static char *names[] = {"x", "weight", "bias", NULL};
    PyObject *x_object, *weight_object, *bias_object;
    npy_intp any[2] = {-1, -1};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO", names, &x_object, &weight_object, &bias_object))
        return NULL;
    PyArrayObject *x = km_binding_array(x_object, "x", KM_NPY_REAL, 2, any);
    if (x == NULL)
        return NULL;
    npy_intp shape[2] = {-1, PyArray_DIM(x, 1)};
    PyArrayObject *weight = km_binding_array(weight_object, "weight", KM_NPY_REAL, 2, shape);
    if (weight == NULL)
        return NULL;
    PyArrayObject *bias = km_binding_array(bias_object, "bias", KM_NPY_REAL, 1, PyArray_DIMS(weight));
    if (bias == NULL)
        return NULL;
    if (PyArray_DIM(x, 1) > INT32_MAX / 64 || PyArray_DIM(weight, 0) > INT32_MAX / 64) {
        PyErr_SetString(PyExc_OverflowError, "features and classes must be 33,554,431 at most");
        return NULL;
    }
    npy_intp out[2] = {PyArray_DIM(x, 0), PyArray_DIM(weight, 0)};
    PyObject *z = km_binding_zeros(2, out, KM_NPY_REAL);
    if (z == NULL)
        return NULL;
    km_error err;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_probe_apply(PyArray_DATA((PyArrayObject *)z), PyArray_DATA(x), PyArray_DATA(weight),
                            PyArray_DATA(bias), out[0], (int)PyArray_DIM(x, 1), (int)out[1], &err);
    Py_END_ALLOW_THREADS
    if (status != KM_OK) {
        Py_DECREF(z);
        return km_binding_raise(&err);
    }
    return z;
}

static PyMethodDef methods[] = {
    {"probe_fit", (PyCFunction)(void (*)(void))probe_fit, METH_VARARGS | METH_KEYWORDS,
     "Linear probes, one a seed: weights, biases, epochs chosen, AUROC of each epoch on validation and watched."},
    {"probe_apply", (PyCFunction)(void (*)(void))probe_apply, METH_VARARGS | METH_KEYWORDS,
     "Logits of a linear layer."},
    {NULL, NULL, 0, NULL},
};

int km_binding_probe_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
