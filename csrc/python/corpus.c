/* _kmerl.Corpus: a store's arrays, checked once and kept alive. */
#include "python/corpus.h"

#include <structmember.h>

typedef struct {
    PyObject_HEAD
    km_corpus corpus;
    PyObject *arrays;           /* dict and shards: what the pointers point into */
    const int16_t **shards;
    int64_t *shard_length;
} corpus_object;

static void corpus_dealloc(PyObject *object)
{
    corpus_object *self = (corpus_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    PyMem_Free((void *)self->shards);
    PyMem_Free(self->shard_length);
    Py_XDECREF(self->arrays);
    type->tp_free(object);
    Py_DECREF(type);
}

/* dict[name], checked; NULL with an exception set. */
static PyArrayObject *item(PyObject *dict, const char *name, int type, int ndim, const npy_intp *shape)
{
    PyObject *object = km_binding_item(dict, name);
    if (object == NULL) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_KeyError, "the corpus lacks %s", name);
        return NULL;
    }
    return km_binding_array(object, name, type, ndim, shape);
}

static int set_shards(corpus_object *self, PyObject *dict)
{
    PyObject *shards = km_binding_item(dict, "shards");
    if (shards == NULL || !PyList_Check(shards)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_TypeError, "shards must be a list of int16 arrays");
        return -1;
    }
    const Py_ssize_t count = PyList_GET_SIZE(shards);
    if (count > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "shards has too many arrays");
        return -1;
    }
    self->shards = PyMem_Calloc((size_t)count + 1, sizeof *self->shards);
    self->shard_length = PyMem_Calloc((size_t)count + 1, sizeof *self->shard_length);
    if (self->shards == NULL || self->shard_length == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyArrayObject *shard = km_binding_array(PyList_GET_ITEM(shards, i), "shards", NPY_INT16, 1, NULL);
        if (shard == NULL)
            return -1;
        self->shards[i] = PyArray_DATA(shard);
        self->shard_length[i] = PyArray_DIM(shard, 0);
    }
    self->corpus.shards = self->shards;
    self->corpus.shard_length = self->shard_length;
    self->corpus.shard_count = (int)count;
    return 0;
}

static int set_columns(corpus_object *self, PyObject *dict)
{
    km_corpus *c = &self->corpus;
    const npy_intp any[2] = {-1, -1};
    PyArrayObject *array = item(dict, "shard", NPY_INT32, 1, any);
    if (array == NULL)
        return -1;
    c->shard = PyArray_DATA(array);
    c->count = PyArray_DIM(array, 0);
    const npy_intp n[1] = {(npy_intp)c->count};
    if ((array = item(dict, "start", NPY_INT64, 1, n)) == NULL)
        return -1;
    c->start = PyArray_DATA(array);
    if ((array = item(dict, "leads", NPY_UINT16, 1, n)) == NULL)
        return -1;
    c->leads = PyArray_DATA(array);
    if ((array = item(dict, "samples", NPY_INT32, 1, n)) == NULL)
        return -1;
    c->samples = PyArray_DATA(array);
    if ((array = item(dict, "report", NPY_INT32, 1, n)) == NULL)
        return -1;
    c->report = PyArray_DATA(array);
    if ((array = item(dict, "embeddings", KM_NPY_REAL, 2, any)) == NULL)
        return -1;
    c->embeddings = PyArray_DATA(array);
    c->reports = PyArray_DIM(array, 0);
    const npy_intp labels[2] = {(npy_intp)c->reports, -1};
    const npy_intp D = PyArray_DIM(array, 1);
    if ((array = item(dict, "labels", NPY_UINT8, 2, labels)) == NULL)
        return -1;
    c->labels = PyArray_DATA(array);
    const npy_intp entities[2] = {PyArray_DIM(array, 1), D};
    if ((array = item(dict, "entities", KM_NPY_REAL, 2, entities)) == NULL)
        return -1;
    c->entities = PyArray_DATA(array);
    if (D > INT32_MAX || entities[0] > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "embeddings or labels are too wide");
        return -1;
    }
    c->D = (int)D;
    c->Q = (int)entities[0];
    return 0;
}

static PyObject *corpus_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"arrays", NULL};
    PyObject *dict;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "O!:Corpus", names, &PyDict_Type, &dict))
        return NULL;
    corpus_object *self = (corpus_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    km_error err;
    /* Copies of the containers: what the caller does to his changes nothing here. */
    PyObject *shards = km_binding_item(dict, "shards");
    self->arrays = PyErr_Occurred() ? NULL : PyDict_Copy(dict);
    if (self->arrays != NULL && shards != NULL && PyList_Check(shards)) {
        shards = PyList_GetSlice(shards, 0, PyList_GET_SIZE(shards));
        if (shards == NULL || PyDict_SetItemString(self->arrays, "shards", shards) < 0)
            Py_CLEAR(self->arrays);
        Py_XDECREF(shards);
    }
    if (self->arrays == NULL || set_shards(self, self->arrays) < 0 || set_columns(self, self->arrays) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (km_corpus_check(&self->corpus, &err) != KM_OK) {
        Py_DECREF(self);
        return km_binding_raise(&err);
    }
    return (PyObject *)self;
}

static Py_ssize_t corpus_length(PyObject *self)
{
    return (Py_ssize_t)((corpus_object *)self)->corpus.count;
}

static PyMemberDef members[] = {
    {"arrays", T_OBJECT, offsetof(corpus_object, arrays), READONLY, "The arrays it was made of."},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, corpus_new},
    {Py_tp_dealloc, corpus_dealloc},
    {Py_tp_members, members},
    {Py_sq_length, corpus_length},
    {Py_tp_doc, "Corpus(arrays)\n--\n\nA store's arrays (Store.corpus()), checked and kept alive."},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "kmerl._kmerl.Corpus",
    .basicsize = sizeof(corpus_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

const km_corpus *km_binding_corpus_get(PyObject *module, PyObject *object)
{
    if (Py_IS_TYPE(object, km_binding_types_of(module)->corpus))
        return &((corpus_object *)object)->corpus;
    PyErr_Format(PyExc_TypeError, "corpus must be a _kmerl.Corpus, got %s", Py_TYPE(object)->tp_name);
    return NULL;
}

int km_binding_corpus_add(PyObject *module)
{
    return km_binding_type_add(module, &spec, &km_binding_types_of(module)->corpus);
}
