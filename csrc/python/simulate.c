/* Simulated recordings (kmerl/simulator.py): the table of criteria and phrases goes in as arrays. */
#include "python/binding.h"

#include "simulate/simulate.h"

PyDoc_STRVAR(simulate_names_doc,
"simulate_names()\n--\n\n"
"Mechanisms in order; {name: (place, is one of twelve)} of measurements; (first mechanism, first label, most labels)\n"
"among the measurements.");

static PyObject *simulate_names(PyObject *module, PyObject *args)
{
    (void)module;
    (void)args;
    static const char *const measures[] = {
#define X(name) #name,
        KM_SCALARS(X) KM_FAMILIES(X)
#undef X
    };
    PyObject *mechanisms = PyTuple_New(KM_MECHANISM_COUNT), *places = PyDict_New(), *result = NULL;
    if (mechanisms == NULL || places == NULL)
        goto exit;
    for (int i = 0; i < KM_MECHANISM_COUNT; i++) {
        PyObject *name = PyUnicode_FromString(km_patient_mechanism_name(i));
        if (name == NULL)
            goto exit;
        PyTuple_SET_ITEM(mechanisms, i, name);
    }
    for (size_t i = 0; i < sizeof measures / sizeof *measures; i++) {
        int family;
        const int place = km_criteria_find(measures[i], &family);
        PyObject *value = Py_BuildValue("(ii)", place, family);
        if (value == NULL || PyDict_SetItemString(places, measures[i], value) < 0) {
            Py_XDECREF(value);
            goto exit;
        }
        Py_DECREF(value);
    }
    result = Py_BuildValue("OO(iii)", mechanisms, places, KM_MEASURE_MECHANISM, KM_MEASURE_LABEL, KM_MAX_LABELS);
exit:
    Py_XDECREF(mechanisms);
    Py_XDECREF(places);
    return result;
}

typedef struct table {
    km_criteria criteria;
    km_grammar grammar;
} table;

/* dict[name] as an array of `type` with `count` entries (-1: any); a new reference is kept. */
static const void *take(PyObject *dict, const char *name, int type, npy_intp count, npy_intp *length)
{
    PyObject *item = PyDict_GetItemString(dict, name);
    if (item == NULL) {
        PyErr_Format(PyExc_KeyError, "the simulator's table lacks %s", name);
        return NULL;
    }
    PyArrayObject *array = km_binding_array(item, name, type, 1, &count);
    if (array == NULL)
        return NULL;
    if (length != NULL)
        *length = PyArray_DIM(array, 0);
    return PyArray_DATA(array);
}

/* A run of first indices: increasing from 0 to `end`. */
static int check_run(const char *name, const int32_t *first, npy_intp count, npy_intp low, npy_intp end)
{
    for (npy_intp i = 0; i < count; i++) {
        if (first[i] < low || first[i] > end || (i > 0 && first[i] < first[i - 1])) {
            PyErr_Format(PyExc_ValueError, "%s leads outside the simulator's table", name);
            return -1;
        }
    }
    return 0;
}

static int table_read(table *t, PyObject *dict)
{
    npy_intp labels, rules, alternatives, conditions, phrases, bytes, styles;
    km_criteria *c = &t->criteria;
    km_grammar *g = &t->grammar;
    if (take(dict, "implied", NPY_UINT8, -1, &labels) == NULL ||
        (g->weight = take(dict, "weight", NPY_FLOAT64, -1, &styles)) == NULL ||
        (c->label = take(dict, "label", NPY_INT32, -1, &rules)) == NULL ||
        (c->kind = take(dict, "kind", NPY_INT32, rules, NULL)) == NULL ||
        (c->alternative = take(dict, "alternative", NPY_INT32, rules + 1, NULL)) == NULL ||
        (c->condition = take(dict, "condition", NPY_INT32, -1, &alternatives)) == NULL ||
        (c->conditions = take(dict, "conditions", NPY_UINT8, -1, &conditions)) == NULL ||
        (g->text = take(dict, "text", NPY_UINT8, -1, &bytes)) == NULL ||
        (g->phrase = take(dict, "phrase", NPY_INT32, -1, &phrases)) == NULL)
        return -1;
    npy_intp side = 0;
    while (side * side < labels)
        side++;
    if (side * side != labels || conditions % (npy_intp)sizeof *c->conditions != 0 || alternatives < 1 || phrases < 1 ||
        styles < 1) {
        PyErr_SetString(PyExc_ValueError, "the simulator's table does not fit together");
        return -1;
    }
    phrases--;
    g->above = take(dict, "implied", NPY_UINT8, -1, NULL);
    c->rules = (int)rules;
    c->labels = g->labels = (int)side;
    g->styles = (int)styles;
    if ((g->said = take(dict, "said", NPY_INT32, styles * side + 1, NULL)) == NULL ||
        (g->frames = take(dict, "frames", NPY_INT32, styles + 1, NULL)) == NULL ||
        (g->denials = take(dict, "denials", NPY_INT32, styles + 1, NULL)) == NULL ||
        (g->denied = take(dict, "denied", NPY_INT32, phrases, NULL)) == NULL ||
        (g->remarks = take(dict, "remarks", NPY_INT32, styles + 1, NULL)) == NULL ||
        (g->joint = take(dict, "joint", NPY_INT32, styles, NULL)) == NULL ||
        (g->sentence = take(dict, "sentence", NPY_INT32, styles, NULL)) == NULL)
        return -1;
    if (check_run("phrase", g->phrase, phrases + 1, 0, bytes) < 0 ||
        check_run("said", g->said, styles * side + 1, 0, phrases) < 0 ||
        check_run("frames", g->frames, styles + 1, 0, phrases) < 0 ||
        check_run("denials", g->denials, styles + 1, 0, phrases) < 0 ||
        check_run("remarks", g->remarks, styles + 1, 0, phrases) < 0)
        return -1;
    for (npy_intp i = 0; i < phrases; i++)
        if (g->denied[i] < -1 || g->denied[i] >= side) {
            PyErr_SetString(PyExc_ValueError, "denied leads outside the simulator's table");
            return -1;
        }
    for (npy_intp i = 0; i < styles; i++)
        if (g->joint[i] < 0 || g->joint[i] >= phrases) {
            PyErr_SetString(PyExc_ValueError, "joint leads outside the simulator's table");
            return -1;
        }
    km_error err;
    const int count = (int)(conditions / (npy_intp)sizeof *c->conditions);
    if (km_criteria_check(c, (int)alternatives - 1, count, &err) != KM_OK) {
        km_binding_raise(&err);
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(simulate_doc,
"simulate(table, prevalence, forced, wanted, index, seed, fs, samples, noise, signals, threads)\n--\n\n"
"Recordings `index` (n) int64. table: dict of arrays. prevalence (mechanisms) float64; forced (mechanisms) uint8\n"
"or None; wanted int32 labels that must come out. Gives signals (n, 12, samples) float32 or None, found (n, labels)\n"
"uint8 (1 asserted, 2 hedged), measures (n, measures) float32, list of reports as bytes.");

static PyObject *simulate(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *dict, *prevalence_argument, *forced_argument, *wanted_argument, *index_argument;
    unsigned long long seed;
    double fs, noise;
    long long samples;
    int signals, threads;
    if (!PyArg_ParseTuple(args, "O!OOOOKdLdpi:simulate", &PyDict_Type, &dict, &prevalence_argument, &forced_argument,
                          &wanted_argument, &index_argument, &seed, &fs, &samples, &noise, &signals, &threads))
        return NULL;
    const npy_intp mechanisms[1] = {KM_MECHANISM_COUNT};
    PyArrayObject *prevalence = km_binding_array(prevalence_argument, "prevalence", NPY_FLOAT64, 1, mechanisms);
    PyArrayObject *wanted = km_binding_array(wanted_argument, "wanted", NPY_INT32, 1, NULL);
    PyArrayObject *index = km_binding_array(index_argument, "index", NPY_INT64, 1, NULL);
    PyArrayObject *forced = NULL;
    if (prevalence == NULL || wanted == NULL || index == NULL)
        return NULL;
    if (forced_argument != Py_None) {
        forced = km_binding_array(forced_argument, "forced", NPY_UINT8, 1, mechanisms);
        if (forced == NULL)
            return NULL;
    }
    table t = {0};
    if (table_read(&t, dict) < 0)
        return NULL;
    const npy_intp n = PyArray_DIM(index, 0);
    if (n > INT32_MAX || samples < 1 || samples > 600000) {
        PyErr_Format(PyExc_ValueError, "%zd recordings of %lld samples are too many", (Py_ssize_t)n, samples);
        return NULL;
    }
    km_simulate_settings settings = {
        .seed = seed, .fs = fs, .samples = samples, .noise = noise, .prevalence = PyArray_DATA(prevalence),
        .forced = forced != NULL ? PyArray_DATA(forced) : NULL, .wanted = PyArray_DATA(wanted),
        .wanted_count = (int)PyArray_DIM(wanted, 0), .criteria = t.criteria, .grammar = t.grammar,
    };
    for (int i = 0; i < settings.wanted_count; i++)
        if (settings.wanted[i] < 0 || settings.wanted[i] >= t.criteria.labels) {
            PyErr_SetString(PyExc_ValueError, "wanted leads outside the simulator's table");
            return NULL;
        }
    const npy_intp signal_shape[3] = {n, KM_LEADS, samples}, found_shape[2] = {n, t.criteria.labels},
                   measure_shape[2] = {n, KM_MEASURES};
    PyObject *signal = signals ? PyArray_SimpleNew(3, (npy_intp *)signal_shape, NPY_FLOAT32) : Py_NewRef(Py_None);
    PyObject *found = km_binding_zeros(2, found_shape, NPY_UINT8), *result = NULL;
    PyObject *measure = km_binding_zeros(2, measure_shape, NPY_FLOAT32), *reports = PyList_New(n);
    char *text = PyMem_Malloc((size_t)n * KM_GRAMMAR_TEXT + 1);
    int32_t *length = PyMem_Calloc((size_t)n + 1, sizeof *length);
    /* Its own reference: the caller may drop or change the dict's entries while the GIL is free. */
    PyObject *kept = PyDict_Copy(dict);
    if (signal == NULL || found == NULL || measure == NULL || reports == NULL || text == NULL || length == NULL ||
        kept == NULL) {
        if (!PyErr_Occurred())
            PyErr_NoMemory();
        goto exit;
    }
    km_error err;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_simulate_records(signals ? PyArray_DATA((PyArrayObject *)signal) : NULL,
                                 PyArray_DATA((PyArrayObject *)found), PyArray_DATA((PyArrayObject *)measure), text,
                                 length, &settings, PyArray_DATA(index), (int)n, threads, &err);
    Py_END_ALLOW_THREADS
    if (status != KM_OK) {
        km_binding_raise(&err);
        goto exit;
    }
    for (npy_intp i = 0; i < n; i++) {
        PyObject *report = PyUnicode_DecodeUTF8(text + i * KM_GRAMMAR_TEXT, length[i], "ignore");
        if (report == NULL)
            goto exit;
        PyList_SET_ITEM(reports, i, report);
    }
    result = PyTuple_Pack(4, signal, found, measure, reports);
exit:
    Py_XDECREF(signal);
    Py_XDECREF(found);
    Py_XDECREF(measure);
    Py_XDECREF(reports);
    Py_XDECREF(kept);
    PyMem_Free(text);
    PyMem_Free(length);
    return result;
}

static PyMethodDef methods[] = {
    {"simulate_names", simulate_names, METH_NOARGS, simulate_names_doc},
    {"simulate", simulate, METH_VARARGS, simulate_doc},
    {NULL, NULL, 0, NULL},
};

int km_binding_simulate_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
