#include "python/config.h"

#include "model/params.h"

/* dict[name], borrowed, or NULL with KeyError set. */
static PyObject *field_of(PyObject *dict, const char *name)
{
    PyObject *value = km_binding_item(dict, name);
    if (value == NULL && !PyErr_Occurred())
        PyErr_Format(PyExc_KeyError, "config lacks the field %s", name);
    return value;
}

static int number(PyObject *dict, const char *name, double *out)
{
    PyObject *value = field_of(dict, name);
    *out = value != NULL ? PyFloat_AsDouble(value) : -1;
    return !(*out == -1 && PyErr_Occurred());
}

static int integer(PyObject *dict, const char *name, int64_t *out)
{
    PyObject *value = field_of(dict, name);
    *out = value != NULL ? PyLong_AsLongLong(value) : -1;
    return !(*out == -1 && PyErr_Occurred());
}

int km_binding_config(PyObject *dict, void *pointer)
{
    km_config *config = pointer;
    if (!PyDict_Check(dict)) {
        PyErr_Format(PyExc_TypeError, "config must be a dict, got %s", Py_TYPE(dict)->tp_name);
        return 0;
    }
    Py_ssize_t fields = 1;
#define INT(field)                                  \
    fields++;                                       \
    if (!integer(dict, #field, &config->field))     \
        return 0;
#define REAL(field)                                 \
    fields++;                                       \
    if (!number(dict, #field, &config->field))      \
        return 0;
    KM_CONFIG_FIELDS(INT, REAL)
#undef INT
#undef REAL
    PyObject *masked = km_binding_item(dict, "masked_leads");
    PyObject *items = masked != NULL ? PySequence_Fast(masked, "masked_leads must be a sequence") : NULL;
    if (items == NULL || PySequence_Fast_GET_SIZE(items) != KM_LEADS) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "masked_leads must be %d probabilities", KM_LEADS);
        Py_XDECREF(items);
        return 0;
    }
    for (int i = 0; i < KM_LEADS; i++)
        config->masked_leads[i] = PyFloat_AsDouble(PySequence_Fast_GET_ITEM(items, i));
    Py_DECREF(items);
    if (PyErr_Occurred())
        return 0;
    if (PyDict_Size(dict) != fields) {
        PyErr_Format(PyExc_KeyError, "config has %zd fields, expected %zd", PyDict_Size(dict), fields);
        return 0;
    }
    return 1;
}

/* dict as a configuration that km_config_check accepts: 1, or 0 with an exception set. */
static int checked(PyObject *dict, km_config *config)
{
    km_error err;
    if (!km_binding_config(dict, config))
        return 0;
    if (km_config_check(config, &err) != KM_OK) {
        km_binding_raise(&err);
        return 0;
    }
    return 1;
}

static PyObject *check_config(PyObject *module, PyObject *dict)
{
    km_config config;
    (void)module;
    if (!checked(dict, &config))
        return NULL;
    Py_RETURN_NONE;
}

/* {name: shape} of a configuration's parameters, or of its running statistics. */
static PyObject *shapes(const km_config *config, int statistics)
{
    km_layout list;
    km_error err;
    if (km_layout_create(&list, config, statistics, &err) != KM_OK)
        return km_binding_raise(&err);
    PyObject *dict = PyDict_New();
    for (int i = 0; dict != NULL && i < list.count; i++) {
        const km_tensor *t = &list.tensors[i];
        PyObject *shape = t->cols > 0 ? Py_BuildValue("(LL)", (long long)t->rows, (long long)t->cols)
                                      : Py_BuildValue("(L)", (long long)t->rows);
        if (shape == NULL || PyDict_SetItemString(dict, t->name, shape) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(shape);
    }
    km_layout_free(&list);
    return dict;
}

static PyObject *layout(PyObject *module, PyObject *dict)
{
    km_config config;
    (void)module;
    if (!checked(dict, &config))
        return NULL;
    return Py_BuildValue("NN", shapes(&config, 0), shapes(&config, 1));
}

static PyMethodDef methods[] = {
    {"layout", layout, METH_O, "{name: shape} of a configuration's parameters, and of its running statistics."},
    {"check_config", check_config, METH_O, "ValueError for the first field out of range, or fields that contradict."},
    {NULL, NULL, 0, NULL},
};

int km_binding_config_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
