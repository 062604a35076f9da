/* Metrics: y (N, K) uint8, p (N, K) float64 and so on, exactly as kmerl/metrics.py makes them. */
#include "python/binding.h"

#include "eval/metrics.h"

static int settings_check(km_metrics_settings *settings, int metric, PyObject *threshold, npy_intp K)
{
    if (metric < KM_ROC_AUC || metric > KM_CALIBRATION_ERROR) {
        PyErr_Format(PyExc_ValueError, "metric is %d, expected %d to %d", metric, KM_ROC_AUC, KM_CALIBRATION_ERROR);
        return -1;
    }
    settings->metric = (km_metric)metric;
    if (settings->metric == KM_F1) {
        PyArrayObject *array = km_binding_array(threshold, "threshold", NPY_FLOAT64, 1, &K);
        if (array == NULL)
            return -1;
        settings->threshold = PyArray_DATA(array);
    }
    return 0;
}

/* The two arrays every function takes, checked against each other. */
static int outcomes_check(PyArrayObject **y, PyArrayObject **p, PyObject *y_object, PyObject *p_object)
{
    *y = km_binding_array(y_object, "y", NPY_UINT8, 2, NULL);
    if (*y == NULL)
        return -1;
    *p = km_binding_array(p_object, "p", NPY_FLOAT64, 2, PyArray_DIMS(*y));
    if (*p == NULL)
        return -1;
    if (PyArray_DIM(*y, 1) >= INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "y has more than 2^31 - 2 classes");
        return -1;
    }
    return 0;
}

static PyObject *metrics_score(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static char *names[] = {"y", "p", "metric", "threshold", "bins", "threads", NULL};
    PyObject *y_object, *p_object, *threshold;
    PyArrayObject *y, *p;
    int metric;
    km_metrics_settings settings = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOiOii", names, &y_object, &p_object, &metric, &threshold,
                                     &settings.bins, &settings.threads))
        return NULL;
    if (outcomes_check(&y, &p, y_object, p_object) < 0)
        return NULL;
    npy_intp N = PyArray_DIM(y, 0), K = PyArray_DIM(y, 1), columns = K + 1;
    if (settings_check(&settings, metric, threshold, K) < 0)
        return NULL;
    PyObject *score = km_binding_zeros(1, &columns, NPY_FLOAT64);
    if (score == NULL)
        return NULL;
    km_error err;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_metrics_score(PyArray_DATA((PyArrayObject *)score), PyArray_DATA(y), PyArray_DATA(p), N, (int)K,
                              &settings, &err);
    Py_END_ALLOW_THREADS
    if (status != KM_OK) {
        Py_DECREF(score);
        return km_binding_raise(&err);
    }
    return score;
}

static PyObject *metrics_threshold(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static char *names[] = {"y", "p", "threads", NULL};
    PyObject *y_object, *p_object;
    PyArrayObject *y, *p;
    int threads;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOi", names, &y_object, &p_object, &threads))
        return NULL;
    if (outcomes_check(&y, &p, y_object, p_object) < 0)
        return NULL;
    npy_intp N = PyArray_DIM(y, 0), K = PyArray_DIM(y, 1);
    PyObject *threshold = km_binding_zeros(1, &K, NPY_FLOAT64);
    if (threshold == NULL)
        return NULL;
    km_error err;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_metrics_threshold(PyArray_DATA((PyArrayObject *)threshold), PyArray_DATA(y), PyArray_DATA(p), N,
                                  (int)K, threads, &err);
    Py_END_ALLOW_THREADS
    if (status != KM_OK) {
        Py_DECREF(threshold);
        return km_binding_raise(&err);
    }
    return threshold;
}

/* Between blocks of resamples: Ctrl-C is heard. */
static int signals_hook(void *context)
{
    (void)context;
    PyGILState_STATE state = PyGILState_Ensure();
    int stop = PyErr_CheckSignals() != 0;
    PyGILState_Release(state);
    return stop;
}

static PyObject *metrics_bootstrap(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static char *names[] = {"y", "p", "patient", "patients", "resamples", "level", "seed", "metric", "threshold",
                            "bins", "threads", NULL};
    PyObject *y_object, *p_object, *patient_object, *threshold;
    PyArrayObject *y, *p, *patient;
    unsigned int G;
    unsigned long long seed;
    double level;
    int metric, resamples;
    km_metrics_settings settings = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOIidKiOii", names, &y_object, &p_object, &patient_object, &G,
                                     &resamples, &level, &seed, &metric, &threshold, &settings.bins,
                                     &settings.threads))
        return NULL;
    if (outcomes_check(&y, &p, y_object, p_object) < 0)
        return NULL;
    npy_intp N = PyArray_DIM(y, 0), K = PyArray_DIM(y, 1), columns = K + 1;
    if (settings_check(&settings, metric, threshold, K) < 0)
        return NULL;
    patient = km_binding_array(patient_object, "patient", NPY_UINT32, 1, &N);
    if (patient == NULL)
        return NULL;
    for (npy_intp i = 0; i < N; i++) {
        uint32_t id = ((const uint32_t *)PyArray_DATA(patient))[i];
        if (id >= G)
            return PyErr_Format(PyExc_ValueError, "patient[%zd] is %u, expected less than %u", (Py_ssize_t)i, id, G);
    }
    PyObject *score = km_binding_zeros(1, &columns, NPY_FLOAT64), *low = km_binding_zeros(1, &columns, NPY_FLOAT64);
    PyObject *high = km_binding_zeros(1, &columns, NPY_FLOAT64), *count = km_binding_zeros(1, &columns, NPY_INT64);
    PyObject *result = NULL;
    if (score == NULL || low == NULL || high == NULL || count == NULL)
        goto exit;
    km_error err;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_metrics_bootstrap(PyArray_DATA((PyArrayObject *)score), PyArray_DATA((PyArrayObject *)low),
                                  PyArray_DATA((PyArrayObject *)high), PyArray_DATA((PyArrayObject *)count),
                                  PyArray_DATA(y), PyArray_DATA(p), PyArray_DATA(patient), G, N, (int)K, resamples,
                                  level, seed, &settings, signals_hook, NULL, &err);
    Py_END_ALLOW_THREADS
    if (status != KM_OK)
        km_binding_raise(&err);
    else
        result = PyTuple_Pack(4, score, low, high, count);

exit:
    Py_XDECREF(score);
    Py_XDECREF(low);
    Py_XDECREF(high);
    Py_XDECREF(count);
    return result;
}

static PyMethodDef methods[] = {
    {"metrics_score", (PyCFunction)(void (*)(void))metrics_score, METH_VARARGS | METH_KEYWORDS,
     "A metric of each class, and last their mean over the classes that have one."},
    {"metrics_threshold", (PyCFunction)(void (*)(void))metrics_threshold, METH_VARARGS | METH_KEYWORDS,
     "For each class the threshold of its largest F1."},
    {"metrics_bootstrap", (PyCFunction)(void (*)(void))metrics_bootstrap, METH_VARARGS | METH_KEYWORDS,
     "A metric of each class and their mean: value, low and high end of the interval, resamples behind it."},
    {NULL, NULL, 0, NULL},
};

int km_binding_metrics_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
