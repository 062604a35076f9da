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

/* Patients as numbers 0 .. G - 1, checked. */
static const uint32_t *patients_check(PyObject *object, npy_intp N, unsigned int G)
{
    PyArrayObject *array = km_binding_array(object, "patient", NPY_UINT32, 1, &N);
    if (array == NULL)
        return NULL;
    const uint32_t *patient = PyArray_DATA(array);
    for (npy_intp i = 0; i < N; i++) {
        if (patient[i] >= G) {
            PyErr_Format(PyExc_ValueError, "patient[%zd] is %u, expected less than %u", (Py_ssize_t)i, patient[i], G);
            return NULL;
        }
    }
    return patient;
}

/* Columns of the answer, (K + 1) each: `reals` of float64, the last one of int64. */
enum { MOST_COLUMNS = 5 };

static int columns_open(PyObject **column, int reals, npy_intp length)
{
    int failed = 0;
    for (int i = 0; i <= reals; i++) {
        column[i] = km_binding_zeros(1, &length, i < reals ? NPY_FLOAT64 : NPY_INT64);
        failed |= column[i] == NULL;
    }
    return failed ? -1 : 0;
}

static PyObject *columns_close(PyObject **column, int reals, int failed)
{
    PyObject *result = failed ? NULL : PyTuple_New(reals + 1);
    for (int i = 0; i <= reals; i++) {
        if (result != NULL)
            PyTuple_SET_ITEM(result, i, column[i]);
        else
            Py_XDECREF(column[i]);
    }
    return result;
}

static void *data(PyObject *array) { return PyArray_DATA((PyArrayObject *)array); }

static PyObject *metrics_bootstrap(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static char *names[] = {"y", "p", "patient", "patients", "resamples", "level", "seed", "metric", "threshold",
                            "bins", "threads", NULL};
    PyObject *y_object, *p_object, *patient_object, *threshold, *column[MOST_COLUMNS];
    PyArrayObject *y, *p;
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
    npy_intp N = PyArray_DIM(y, 0), K = PyArray_DIM(y, 1);
    if (settings_check(&settings, metric, threshold, K) < 0)
        return NULL;
    const uint32_t *patient = patients_check(patient_object, N, G);
    if (patient == NULL)
        return NULL;
    if (columns_open(column, 3, K + 1) < 0)
        return columns_close(column, 3, 1);
    km_error err;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_metrics_bootstrap(data(column[0]), data(column[1]), data(column[2]), data(column[3]),
                                  PyArray_DATA(y), PyArray_DATA(p), patient, G, N, (int)K, resamples, level, seed,
                                  &settings, signals_hook, NULL, &err);
    Py_END_ALLOW_THREADS
    if (status != KM_OK)
        km_binding_raise(&err);
    return columns_close(column, 3, status != KM_OK);
}

static PyObject *metrics_resamples(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static char *names[] = {"y", "p", "patient", "patients", "resamples", "seed", "metric", "threshold", "bins",
                            "threads", NULL};
    PyObject *y_object, *p_object, *patient_object, *threshold;
    PyArrayObject *y, *p;
    unsigned int G;
    unsigned long long seed;
    int metric, resamples;
    km_metrics_settings settings = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOIiKiOii", names, &y_object, &p_object, &patient_object, &G,
                                     &resamples, &seed, &metric, &threshold, &settings.bins, &settings.threads))
        return NULL;
    if (outcomes_check(&y, &p, y_object, p_object) < 0)
        return NULL;
    npy_intp N = PyArray_DIM(y, 0), K = PyArray_DIM(y, 1), count = resamples;
    if (settings_check(&settings, metric, threshold, K) < 0)
        return NULL;
    const uint32_t *patient = patients_check(patient_object, N, G);
    PyObject *value = patient == NULL ? NULL : km_binding_zeros(1, &count, NPY_FLOAT64);
    if (value == NULL)
        return NULL;
    km_error err;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_metrics_resamples(data(value), PyArray_DATA(y), PyArray_DATA(p), patient, G, N, (int)K, resamples, seed,
                                  &settings, signals_hook, NULL, &err);
    Py_END_ALLOW_THREADS
    if (status == KM_OK)
        return value;
    Py_DECREF(value);
    return km_binding_raise(&err);
}

static PyObject *metrics_paired(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static char *names[] = {"y", "first", "second", "patient", "patients", "resamples", "level", "seed", "metric",
                            "first_threshold", "second_threshold", "bins", "threads", NULL};
    PyObject *y_object, *first_object, *second_object, *patient_object, *thresholds[2], *column[MOST_COLUMNS];
    PyArrayObject *y, *first, *second;
    unsigned int G;
    unsigned long long seed;
    double level;
    int metric, resamples;
    km_metrics_settings settings[2] = {{0}, {0}};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOOIidKiOOii", names, &y_object, &first_object, &second_object,
                                     &patient_object, &G, &resamples, &level, &seed, &metric, &thresholds[0],
                                     &thresholds[1], &settings[0].bins, &settings[0].threads))
        return NULL;
    if (outcomes_check(&y, &first, y_object, first_object) < 0)
        return NULL;
    second = km_binding_array(second_object, "second", NPY_FLOAT64, 2, PyArray_DIMS(y));
    if (second == NULL)
        return NULL;
    npy_intp N = PyArray_DIM(y, 0), K = PyArray_DIM(y, 1);
    settings[1] = settings[0];
    if (settings_check(&settings[0], metric, thresholds[0], K) < 0
        || settings_check(&settings[1], metric, thresholds[1], K) < 0)
        return NULL;
    const uint32_t *patient = patients_check(patient_object, N, G);
    if (patient == NULL)
        return NULL;
    if (columns_open(column, 4, K + 1) < 0)
        return columns_close(column, 4, 1);
    km_error err;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_metrics_paired(data(column[0]), data(column[1]), data(column[2]), data(column[3]), data(column[4]),
                               PyArray_DATA(y), PyArray_DATA(first), PyArray_DATA(second), patient, G, N, (int)K,
                               resamples, level, seed, &settings[0], &settings[1], signals_hook, NULL, &err);
    Py_END_ALLOW_THREADS
    if (status != KM_OK)
        km_binding_raise(&err);
    return columns_close(column, 4, status != KM_OK);
}

/* One class, (N): its curve, or its bins. */
static PyObject *metrics_curve(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *y_object, *p_object;
    if (!PyArg_ParseTuple(args, "OO:metrics_curve", &y_object, &p_object))
        return NULL;
    npy_intp N = -1;
    PyArrayObject *y = km_binding_array(y_object, "y", NPY_UINT8, 1, &N);
    if (y == NULL)
        return NULL;
    N = PyArray_DIM(y, 0);
    PyArrayObject *p = km_binding_array(p_object, "p", NPY_FLOAT64, 1, &N);
    if (p == NULL)
        return NULL;
    PyObject *threshold = km_binding_zeros(1, &N, NPY_FLOAT64), *positives = km_binding_zeros(1, &N, NPY_INT64);
    PyObject *negatives = km_binding_zeros(1, &N, NPY_INT64), *result = NULL;
    if (threshold != NULL && positives != NULL && negatives != NULL) {
        km_error err;
        int64_t points;
        if (km_metrics_curve(data(threshold), data(positives), data(negatives), &points, PyArray_DATA(y),
                             PyArray_DATA(p), N, &err) != KM_OK)
            km_binding_raise(&err);
        else
            result = Py_BuildValue("OOOL", threshold, positives, negatives, (long long)points);
    }
    Py_XDECREF(threshold);
    Py_XDECREF(positives);
    Py_XDECREF(negatives);
    return result;
}

static PyObject *metrics_reliability(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *y_object, *p_object;
    int bins;
    if (!PyArg_ParseTuple(args, "OOi:metrics_reliability", &y_object, &p_object, &bins))
        return NULL;
    npy_intp N = -1;
    PyArrayObject *y = km_binding_array(y_object, "y", NPY_UINT8, 1, &N);
    if (y == NULL)
        return NULL;
    N = PyArray_DIM(y, 0);
    PyArrayObject *p = km_binding_array(p_object, "p", NPY_FLOAT64, 1, &N);
    if (p == NULL)
        return NULL;
    npy_intp length = bins > 0 ? bins : 0;
    PyObject *recordings = km_binding_zeros(1, &length, NPY_INT64);
    PyObject *positives = km_binding_zeros(1, &length, NPY_INT64);
    PyObject *mean = km_binding_zeros(1, &length, NPY_FLOAT64), *result = NULL;
    if (recordings != NULL && positives != NULL && mean != NULL) {
        km_error err;
        if (km_metrics_reliability(data(recordings), data(positives), data(mean), PyArray_DATA(y), PyArray_DATA(p), N,
                                   bins, &err) != KM_OK)
            km_binding_raise(&err);
        else
            result = PyTuple_Pack(3, recordings, positives, mean);
    }
    Py_XDECREF(recordings);
    Py_XDECREF(positives);
    Py_XDECREF(mean);
    return result;
}

static PyMethodDef methods[] = {
    {"metrics_score", (PyCFunction)(void (*)(void))metrics_score, METH_VARARGS | METH_KEYWORDS,
     "A metric of each class, and last their mean over the classes that have one."},
    {"metrics_threshold", (PyCFunction)(void (*)(void))metrics_threshold, METH_VARARGS | METH_KEYWORDS,
     "For each class the threshold of its largest F1."},
    {"metrics_bootstrap", (PyCFunction)(void (*)(void))metrics_bootstrap, METH_VARARGS | METH_KEYWORDS,
     "A metric of each class and their mean: value, low and high end of the interval, resamples behind it."},
    {"metrics_resamples", (PyCFunction)(void (*)(void))metrics_resamples, METH_VARARGS | METH_KEYWORDS,
     "The macro average of each resample of patients."},
    {"metrics_paired", (PyCFunction)(void (*)(void))metrics_paired, METH_VARARGS | METH_KEYWORDS,
     "Difference of a metric of two models, each class and their mean: value, interval, p value, resamples behind it."},
    {"metrics_curve", metrics_curve, METH_VARARGS,
     "One class at each distinct score, falling: score, positives and negatives down to it, number of points."},
    {"metrics_reliability", metrics_reliability, METH_VARARGS,
     "One class in equal bins of its probabilities: recordings, positives, mean probability."},
    {NULL, NULL, 0, NULL},
};

int km_binding_metrics_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
