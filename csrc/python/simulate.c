/* Simulated recordings (kmerl/simulator.py): the table of criteria and phrases goes in as arrays. */
#include "python/simulate.h"

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
    PyObject *item = km_binding_item(dict, name);
    if (item == NULL) {
        if (!PyErr_Occurred())
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
    c->rules = (int)rules;
    c->labels = g->labels = (int)side;
    g->styles = (int)styles;
    if ((g->above = take(dict, "implied", NPY_UINT8, -1, NULL)) == NULL ||
        (g->said = take(dict, "said", NPY_INT32, styles * side + 1, NULL)) == NULL ||
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

/* What it points to belongs to the arrays. */
static int settings_read(km_simulate_settings *settings, PyObject *dict, PyObject *prevalence_argument,
                         PyObject *forced_argument, PyObject *wanted_argument, unsigned long long seed, double fs,
                         long long samples, double noise)
{
    const npy_intp mechanisms[1] = {KM_MECHANISM_COUNT};
    PyArrayObject *prevalence = km_binding_array(prevalence_argument, "prevalence", NPY_FLOAT64, 1, mechanisms);
    PyArrayObject *wanted = km_binding_array(wanted_argument, "wanted", NPY_INT32, 1, NULL), *forced = NULL;
    if (prevalence == NULL || wanted == NULL)
        return -1;
    if (forced_argument != Py_None) {
        forced = km_binding_array(forced_argument, "forced", NPY_UINT8, 1, mechanisms);
        if (forced == NULL)
            return -1;
    }
    table t = {0};
    if (table_read(&t, dict) < 0)
        return -1;
    if (samples < 1 || samples > 600000) {
        PyErr_Format(PyExc_ValueError, "samples must be 1 to 600000, got %lld", samples);
        return -1;
    }
    *settings = (km_simulate_settings){
        .seed = seed, .fs = fs, .samples = samples, .noise = noise, .prevalence = PyArray_DATA(prevalence),
        .forced = forced != NULL ? PyArray_DATA(forced) : NULL, .wanted = PyArray_DATA(wanted),
        .wanted_count = (int)PyArray_DIM(wanted, 0), .criteria = t.criteria, .grammar = t.grammar,
    };
    for (int i = 0; i < settings->wanted_count; i++)
        if (settings->wanted[i] < 0 || settings->wanted[i] >= t.criteria.labels) {
            PyErr_SetString(PyExc_ValueError, "wanted leads outside the simulator's table");
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
    PyObject *dict, *prevalence, *forced, *wanted, *index_argument;
    unsigned long long seed;
    double fs, noise;
    long long samples;
    int signals, threads;
    km_simulate_settings settings;
    if (!PyArg_ParseTuple(args, "O!OOOOKdLdpi:simulate", &PyDict_Type, &dict, &prevalence, &forced, &wanted,
                          &index_argument, &seed, &fs, &samples, &noise, &signals, &threads))
        return NULL;
    PyArrayObject *index = km_binding_array(index_argument, "index", NPY_INT64, 1, NULL);
    if (index == NULL || settings_read(&settings, dict, prevalence, forced, wanted, seed, fs, samples, noise) < 0)
        return NULL;
    const npy_intp n = PyArray_DIM(index, 0);
    if (n > INT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%zd recordings are too many", (Py_ssize_t)n);
        return NULL;
    }
    const npy_intp signal_shape[3] = {n, KM_LEADS, samples}, found_shape[2] = {n, settings.criteria.labels},
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

/* ---- Feed ---- */

typedef struct {
    PyObject_HEAD
    km_feed feed;
    PyObject *kept;             /* what the pointers point into */
} feed_object;

static void feed_dealloc(PyObject *object)
{
    feed_object *self = (feed_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    km_feed_free(&self->feed);
    Py_CLEAR(self->kept);
    freefunc release = PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

static PyObject *feed_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"table", "prevalence", "forced", "wanted", "seed", "fs", "samples", "noise", "leads",
                            "epoch_recordings", "entities_of", "vectors", "entities", NULL};
    PyObject *dict, *prevalence, *forced, *wanted, *entities_of_argument, *vectors_argument, *entities_argument;
    unsigned long long seed;
    double fs, noise;
    long long samples, epoch_recordings;
    int leads;
    km_simulate_settings settings;
    km_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OOOKdLdiLOOO:Feed", names, &PyDict_Type, &dict, &prevalence,
                                     &forced, &wanted, &seed, &fs, &samples, &noise, &leads, &epoch_recordings,
                                     &entities_of_argument, &vectors_argument, &entities_argument))
        return NULL;
    PyObject *kept = PyDict_Copy(dict);
    if (kept == NULL || settings_read(&settings, kept, prevalence, forced, wanted, seed, fs, samples, noise) < 0)
        goto fail;
    const npy_intp any[2] = {-1, -1};
    PyArrayObject *entities = km_binding_array(entities_argument, "entities", KM_NPY_REAL, 2, any);
    if (entities == NULL)
        goto fail;
    const npy_intp Q = PyArray_DIM(entities, 0), D = PyArray_DIM(entities, 1);
    const npy_intp above[2] = {settings.criteria.labels, Q}, named[2] = {settings.criteria.labels, D};
    PyArrayObject *entities_of = km_binding_array(entities_of_argument, "entities_of", NPY_UINT8, 2, above);
    PyArrayObject *vectors = entities_of == NULL ? NULL : km_binding_array(vectors_argument, "vectors", KM_NPY_REAL, 2,
                                                                           named);
    if (vectors == NULL)
        goto fail;
    if (leads < 1 || leads >= 1 << KM_LEADS || epoch_recordings < 1 || Q > INT32_MAX || D > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "leads, epoch_recordings or entities are out of range");
        goto fail;
    }
    if (km_simulate_check(&settings, &err) != KM_OK) {
        km_binding_raise(&err);
        goto fail;
    }
    allocfunc allocate = PyType_GetSlot(type, Py_tp_alloc);
    feed_object *self = (feed_object *)allocate(type, 0);
    if (self == NULL)
        goto fail;
    self->feed = (km_feed){
        .settings = settings, .leads = (uint16_t)leads, .epoch_recordings = epoch_recordings, .Q = (int)Q,
        .D = (int)D, .entities_of = PyArray_DATA(entities_of), .vectors = PyArray_DATA(vectors),
        .entities = PyArray_DATA(entities),
    };
    self->kept = Py_BuildValue("(NOOOOOO)", kept, prevalence, forced, wanted, entities_of_argument, vectors_argument,
                               entities_argument);
    if (self->kept == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
fail:
    Py_XDECREF(kept);
    return NULL;
}

static PyType_Slot feed_slots[] = {
    {Py_tp_new, (void *)feed_new},
    {Py_tp_dealloc, (void *)feed_dealloc},
    {Py_tp_doc, "Simulated recordings as a trainer's source; of one trainer at a time."},
    {0, NULL},
};

static PyType_Spec feed_spec = {
    .name = "kmerl._kmerl.Feed",
    .basicsize = sizeof(feed_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = feed_slots,
};

km_feed *km_binding_feed_get(PyObject *module, PyObject *object)
{
    return Py_IS_TYPE(object, km_binding_types_of(module)->feed) ? &((feed_object *)object)->feed : NULL;
}

static PyMethodDef methods[] = {
    {"simulate_names", simulate_names, METH_NOARGS, simulate_names_doc},
    {"simulate", simulate, METH_VARARGS, simulate_doc},
    {NULL, NULL, 0, NULL},
};

int km_binding_simulate_add(PyObject *module)
{
    if (km_binding_type_add(module, &feed_spec, &km_binding_types_of(module)->feed) < 0)
        return -1;
    if (PyModule_AddIntConstant(module, "SIMULATE_REVISION", KM_SIMULATE_REVISION) < 0)
        return -1;
    return PyModule_AddFunctions(module, methods);
}
