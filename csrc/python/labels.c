/* kmerl._kmerl.Lexicon: compiled words and phrases, and the reading of reports with them. */
#include "python/binding.h"

#include <string.h>

#include "data/labels.h"

typedef struct {
    PyObject_HEAD
    km_lexicon *lexicon;
    PyArrayObject *above, *offset;
} lexicon_object;

static km_above above_of(const lexicon_object *self)
{
    return (km_above){.entity = PyArray_DATA(self->above), .offset = PyArray_DATA(self->offset),
                      .Q = (int32_t)PyArray_DIM(self->offset, 0) - 1};
}

static km_text text_of(PyObject *string)
{
    return (km_text){.characters = PyUnicode_DATA(string), .width = (int)PyUnicode_KIND(string),
                     .length = PyUnicode_GET_LENGTH(string)};
}

/* The strings of a sequence, kept alive by the returned tuple; *texts is freed by the caller. */
static PyObject *texts_of(PyObject *sequence, km_text **texts)
{
    *texts = NULL;
    PyObject *tuple = PySequence_Tuple(sequence);
    if (tuple == NULL)
        return NULL;
    Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    *texts = PyMem_Malloc((size_t)(n > 0 ? n : 1) * sizeof **texts);
    if (*texts == NULL) {
        Py_DECREF(tuple);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = PyTuple_GET_ITEM(tuple, i);
        if (!PyUnicode_Check(item)) {
            PyErr_Format(PyExc_TypeError, "texts must be strings, texts[%zd] is %s", i, Py_TYPE(item)->tp_name);
            PyMem_Free(*texts);
            Py_DECREF(tuple);
            return NULL;
        }
        (*texts)[i] = text_of(item);
    }
    return tuple;
}

/* The superclass table must hold together: the core trusts it. */
static int check_above(PyArrayObject *above, PyArrayObject *offset)
{
    const int32_t *a = PyArray_DATA(above);
    const int64_t *o = PyArray_DATA(offset);
    npy_intp Q = PyArray_DIM(offset, 0) - 1, n = PyArray_DIM(above, 0);
    int good = Q >= 0 && Q < INT32_MAX && o[0] == 0 && o[Q] == n;
    for (npy_intp q = 0; good && q < Q; q++)
        good = o[q] <= o[q + 1];
    for (npy_intp i = 0; good && i < n; i++)
        good = a[i] >= 0 && a[i] < Q;
    if (!good)
        PyErr_SetString(PyExc_ValueError, "above and offset do not describe superclasses");
    return good;
}

/* Lexicon(endings, words, phrases, above, offset): endings are strings, longest first; words (text, flags);
 * phrases (text, kind, side, target); above int32, offset int64 (Q + 1): km_above.                       */
static PyObject *lexicon_new(PyTypeObject *type, PyObject *args, PyObject *kwds)
{
    static char *names[] = {"endings", "words", "phrases", "above", "offset", NULL};
    PyObject *endings, *words, *phrases, *above_object, *offset_object;
    if (!PyArg_ParseTupleAndKeywords(args, kwds, "O!O!O!OO:Lexicon", names, &PyList_Type, &endings, &PyList_Type,
                                     &words, &PyList_Type, &phrases, &above_object, &offset_object))
        return NULL;
    PyArrayObject *above = km_binding_array(above_object, "above", NPY_INT32, 1, NULL);
    PyArrayObject *offset = above == NULL ? NULL : km_binding_array(offset_object, "offset", NPY_INT64, 1, NULL);
    if (offset == NULL || !check_above(above, offset))
        return NULL;
    lexicon_object *self = (lexicon_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->above = (PyArrayObject *)Py_NewRef((PyObject *)above);
    self->offset = (PyArrayObject *)Py_NewRef((PyObject *)offset);
    npy_intp Q = PyArray_DIM(offset, 0) - 1;
    km_error err = {0};
    Py_ssize_t count = PyList_GET_SIZE(endings);
    const char **list = PyMem_Malloc((size_t)(count + 1) * sizeof *list);
    if (list == NULL) {
        PyErr_NoMemory();
        goto fail;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        list[i] = PyUnicode_AsUTF8(PyList_GET_ITEM(endings, i));
        if (list[i] == NULL)
            goto fail;
    }
    if (km_lexicon_create(&self->lexicon, list, (int)count, &err) != KM_OK)
        goto raise;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(words); i++) {
        PyObject *word;
        int flags;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(words, i), "Ui:word", &word, &flags))
            goto fail;
        if (km_lexicon_word_add(self->lexicon, text_of(word), flags, &err) != KM_OK)
            goto raise;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(phrases); i++) {
        PyObject *phrase;
        int kind, side, target;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(phrases, i), "Uiii:phrase", &phrase, &kind, &side, &target))
            goto fail;
        if (kind == KM_PHRASE_ENTITY && (target < 0 || target >= Q)) {
            PyErr_Format(PyExc_ValueError, "phrase '%U' has target %d, there are %zd entities", phrase, target,
                         (Py_ssize_t)Q);
            goto fail;
        }
        km_phrase what = {.kind = (km_phrase_kind)kind, .side = side, .target = target};
        if (km_lexicon_phrase_add(self->lexicon, text_of(phrase), what, &err) != KM_OK) {
            if (err.status == KM_VALUE) {
                PyErr_Format(PyExc_ValueError, "phrase '%U': %s", phrase, err.message);
                goto fail;
            }
            goto raise;
        }
    }
    if (km_lexicon_finish(self->lexicon, &err) != KM_OK)
        goto raise;
    PyMem_Free(list);
    return (PyObject *)self;
raise:
    km_binding_raise(&err);
fail:
    PyMem_Free(list);
    Py_DECREF(self);
    return NULL;
}

static void lexicon_dealloc(lexicon_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    km_lexicon_free(self->lexicon);
    Py_XDECREF(self->above);
    Py_XDECREF(self->offset);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

/* A growing table of int64. */
typedef struct table {
    int64_t *data;
    int64_t count, capacity;
} table;

static int64_t *table_row(table *t, int64_t width)
{
    if (t->count + width > t->capacity) {
        int64_t capacity = t->capacity == 0 ? 1024 : 2 * t->capacity;
        int64_t *grown = PyMem_RawRealloc(t->data, (size_t)capacity * sizeof *grown);
        if (grown == NULL)
            return NULL;
        t->data = grown;
        t->capacity = capacity;
    }
    t->count += width;
    return t->data + t->count - width;
}

static PyObject *table_array(const table *t, npy_intp width)
{
    npy_intp shape[2] = {(npy_intp)(t->count / width), width};
    PyObject *array = km_binding_zeros(2, shape, NPY_INT64);
    if (array != NULL && t->count > 0)
        memcpy(PyArray_DATA((PyArrayObject *)array), t->data, (size_t)t->count * sizeof *t->data);
    return array;
}

/* read(texts) -> findings (n, 5): text, start, end, entity, status; statements (m, 4): text, start, end, kind. */
static PyObject *lexicon_read(lexicon_object *self, PyObject *args)
{
    PyObject *sequence, *result = NULL;
    if (!PyArg_ParseTuple(args, "O:read", &sequence))
        return NULL;
    km_text *texts;
    PyObject *tuple = texts_of(sequence, &texts);
    if (tuple == NULL)
        return NULL;
    int64_t n = PyTuple_GET_SIZE(tuple);
    km_error err = {0};
    km_labels *labels = NULL;
    table findings = {0}, statements = {0};
    km_status status;

    Py_BEGIN_ALLOW_THREADS
    status = km_labels_create(&labels, self->lexicon, above_of(self), &err);
    for (int64_t i = 0; status == KM_OK && i < n; i++) {
        const km_finding *finding;
        const km_statement *statement;
        status = km_labels_read(labels, texts[i], &err);
        if (status != KM_OK)
            break;
        int64_t count = km_labels_findings_get(labels, &finding);
        for (int64_t f = 0; f < count && status == KM_OK; f++) {
            int64_t *row = table_row(&findings, 5);
            if (row == NULL) {
                status = km_error_set(&err, KM_MEMORY, "out of memory: findings");
                break;
            }
            row[0] = i;
            row[1] = finding[f].start;
            row[2] = finding[f].end;
            row[3] = finding[f].entity;
            row[4] = finding[f].status;
        }
        count = km_labels_statements_get(labels, &statement);
        for (int64_t s = 0; s < count && status == KM_OK; s++) {
            int64_t *row = table_row(&statements, 4);
            if (row == NULL) {
                status = km_error_set(&err, KM_MEMORY, "out of memory: statements");
                break;
            }
            row[0] = i;
            row[1] = statement[s].start;
            row[2] = statement[s].end;
            row[3] = statement[s].kind;
        }
    }
    km_labels_free(labels);
    Py_END_ALLOW_THREADS

    if (status != KM_OK) {
        km_binding_raise(&err);
    } else {
        PyObject *first = table_array(&findings, 5), *second = table_array(&statements, 4);
        if (first != NULL && second != NULL)
            result = PyTuple_Pack(2, first, second);
        Py_XDECREF(first);
        Py_XDECREF(second);
    }
    PyMem_RawFree(findings.data);
    PyMem_RawFree(statements.data);
    PyMem_Free(texts);
    Py_DECREF(tuple);
    return result;
}

/* labels(texts, hedged) -> uint8 (n, Q). */
static PyObject *lexicon_labels(lexicon_object *self, PyObject *args)
{
    PyObject *sequence;
    int hedged;
    if (!PyArg_ParseTuple(args, "Op:labels", &sequence, &hedged))
        return NULL;
    npy_intp Q = PyArray_DIM(self->offset, 0) - 1;
    km_text *texts;
    PyObject *tuple = texts_of(sequence, &texts);
    if (tuple == NULL)
        return NULL;
    npy_intp shape[2] = {PyTuple_GET_SIZE(tuple), Q};
    PyObject *matrix = km_binding_zeros(2, shape, NPY_UINT8);
    if (matrix != NULL) {
        uint8_t *rows = PyArray_DATA((PyArrayObject *)matrix);
        km_error err = {0};
        km_labels *labels = NULL;
        km_status status;
        Py_BEGIN_ALLOW_THREADS
        status = km_labels_create(&labels, self->lexicon, above_of(self), &err);
        for (npy_intp i = 0; status == KM_OK && i < shape[0]; i++) {
            status = km_labels_read(labels, texts[i], &err);
            if (status == KM_OK)
                km_labels_row_get(labels, hedged, rows + i * Q);
        }
        km_labels_free(labels);
        Py_END_ALLOW_THREADS
        if (status != KM_OK) {
            km_binding_raise(&err);
            Py_CLEAR(matrix);
        }
    }
    PyMem_Free(texts);
    Py_DECREF(tuple);
    return matrix;
}

static PyMethodDef methods[] = {
    {"read", (PyCFunction)lexicon_read, METH_VARARGS, "Findings and statements of texts, as two integer tables."},
    {"labels", (PyCFunction)lexicon_labels, METH_VARARGS, "The label matrix of texts, uint8 (texts, entities)."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, lexicon_new},
    {Py_tp_dealloc, lexicon_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_doc, "Words and phrases to look for, compiled once."},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "kmerl._kmerl.Lexicon",
    .basicsize = sizeof(lexicon_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

int km_binding_labels_add(PyObject *module)
{
    return km_binding_type_add(module, &spec, NULL);
}
