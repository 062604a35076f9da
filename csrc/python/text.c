/* The text encoder's core as the type _kmerl.Text: weights in at construction, immutable after. */
#include "python/binding.h"     /* first, as Python.h asks */

#include <limits.h>
#include <string.h>

#include "model/text.h"

typedef struct {
    PyObject_HEAD
    km_text *text;
} TextObject;

/* The fields of km_text_config as keyword arguments, after `weights` where there is one. */
#define FIELDS "vocabulary", "positions", "types", "width", "layers", "heads", "mlp_width", "pooler", "eps"
#define FIELDS_FORMAT "iiiiiiipd"
#define FIELDS_INTO(c)                                                                                       \
    &(c).vocabulary, &(c).positions, &(c).types, &(c).width, &(c).layers, &(c).heads, &(c).mlp_width,       \
        &(c).pooler, &(c).eps

static PyObject *shape_of(const km_text_weight *weight)
{
    return weight->cols > 0 ? Py_BuildValue("(ii)", weight->rows, weight->cols) : Py_BuildValue("(i)", weight->rows);
}

static PyObject *text_weights(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    static char *names[] = {FIELDS, NULL};
    km_text_config config = {0};
    km_error err = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$" FIELDS_FORMAT, names, FIELDS_INTO(config)))
        return NULL;
    if (km_text_check(&config, &err) != KM_OK)
        return km_binding_raise(&err);
    int count = km_text_count(&config);
    km_text_weight *list = PyMem_Calloc((size_t)count, sizeof *list);
    if (list == NULL)
        return PyErr_NoMemory();
    km_text_list(list, &config);
    PyObject *shapes = PyDict_New();
    for (int i = 0; shapes != NULL && i < count; i++) {
        PyObject *shape = shape_of(&list[i]);
        if (shape == NULL || PyDict_SetItemString(shapes, list[i].name, shape) < 0)
            Py_CLEAR(shapes);
        Py_XDECREF(shape);
    }
    PyMem_Free(list);
    return shapes;
}

/* Copies the array of this name from the mapping: 0, or -1 with an exception set. */
static int fill(const km_text_weight *weight, PyObject *weights)
{
    PyObject *object = PyMapping_GetItemString(weights, weight->name);
    if (object == NULL)
        return -1;
    npy_intp shape[2] = {weight->rows, weight->cols};
    PyArrayObject *array = km_binding_array(object, weight->name, KM_NPY_REAL, weight->cols > 0 ? 2 : 1, shape);
    if (array != NULL)
        memcpy(weight->data, PyArray_DATA(array), (size_t)PyArray_NBYTES(array));
    Py_DECREF(object);
    return array != NULL ? 0 : -1;
}

static PyObject *text_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"weights", FIELDS, NULL};
    PyObject *weights;
    km_text_config config = {0};
    km_error err = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O$" FIELDS_FORMAT, names, &weights, FIELDS_INTO(config)))
        return NULL;
    TextObject *self = (TextObject *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    if (km_text_create(&self->text, &config, &err) != KM_OK) {
        Py_DECREF(self);
        return km_binding_raise(&err);
    }
    int count = km_text_count(&config);
    for (int i = 0; i < count; i++)
        if (fill(km_text_get(self->text, i), weights) < 0) {
            Py_DECREF(self);
            return NULL;
        }
    return (PyObject *)self;
}

static void text_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    km_text_free(((TextObject *)self)->text);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *text_forward(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"ids", "offset", "pooling", "threads", NULL};
    const km_text *text = ((TextObject *)self)->text;
    PyObject *ids_object, *offset_object;
    const char *name;
    int threads;
    km_pooling pooling;
    km_error err = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOsi", names, &ids_object, &offset_object, &name, &threads))
        return NULL;
    if (strcmp(name, "mean") == 0)
        pooling = KM_MEAN_TOKEN;
    else if (strcmp(name, "cls") == 0)
        pooling = KM_CLS_TOKEN;
    else if (strcmp(name, "pooler") == 0)
        pooling = KM_POOLER_OUTPUT;
    else
        return PyErr_Format(PyExc_ValueError, "pooling is \"%s\", expected \"mean\", \"cls\" or \"pooler\"", name);
    PyArrayObject *ids = km_binding_array(ids_object, "ids", NPY_INT32, 1, NULL);
    PyArrayObject *offset = ids != NULL ? km_binding_array(offset_object, "offset", NPY_INT32, 1, NULL) : NULL;
    if (offset == NULL)
        return NULL;
    npy_intp texts = PyArray_DIM(offset, 0) - 1;
    const int32_t *bounds = PyArray_DATA(offset);
    if (texts < 0 || texts >= INT_MAX || bounds[texts] != PyArray_DIM(ids, 0))
        return PyErr_Format(PyExc_ValueError, "offset must end with the number of ids, %zd",
                            (Py_ssize_t)PyArray_DIM(ids, 0));
    npy_intp shape[2] = {texts, km_text_config_get(text)->width};
    PyObject *out = km_binding_zeros(2, shape, KM_NPY_REAL);
    if (out == NULL)
        return NULL;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_text_forward(PyArray_DATA((PyArrayObject *)out), text, PyArray_DATA(ids), bounds, (int)texts, pooling,
                             threads, &err);
    Py_END_ALLOW_THREADS
    if (status != KM_OK) {
        Py_DECREF(out);
        return km_binding_raise(&err);
    }
    return out;
}

static PyMethodDef text_methods[] = {
    {"forward", (PyCFunction)(void (*)(void))text_forward, METH_VARARGS | METH_KEYWORDS,
     "forward(ids, offset, pooling, threads)\n--\n\n"
     "Embeddings (n, width) of n texts; text i has tokens ids[offset[i]:offset[i + 1]]."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot text_slots[] = {
    {Py_tp_doc, "Text(weights, *, vocabulary, positions, types, width, layers, heads, mlp_width, pooler, eps)\n--\n\n"
                "A BERT encoder: weights maps the names of text_weights to arrays, which are copied."},
    {Py_tp_new, (void *)text_new},
    {Py_tp_dealloc, (void *)text_dealloc},
    {Py_tp_methods, text_methods},
    {0, NULL},
};

static PyType_Spec text_spec = {
    .name = "kmerl._kmerl.Text",
    .basicsize = sizeof(TextObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = text_slots,
};

static PyMethodDef methods[] = {
    {"text_weights", (PyCFunction)(void (*)(void))text_weights, METH_VARARGS | METH_KEYWORDS,
     "text_weights(*, vocabulary, positions, types, width, layers, heads, mlp_width, pooler, eps)\n--\n\n"
     "The shapes of a BERT encoder's weights by name."},
    {NULL, NULL, 0, NULL},
};

int km_binding_text_add(PyObject *module)
{
    if (km_binding_type_add(module, &text_spec, NULL) < 0)
        return -1;
    return PyModule_AddFunctions(module, methods);
}
