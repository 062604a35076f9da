/* _kmerl.Model, Classes and Optimiser: the core's model behind NumPy arrays. */
#include "python/model.h"

#include <string.h>
#include <unistd.h>

#include "python/config.h"
#include "train/optimiser.h"

/* ---- the lock ------------------------------------------------------------------------------------ */

int km_binding_model_acquire(km_binding_model *self)
{
    km_binding_lock *l = &self->lock;
    unsigned long thread = PyThread_get_thread_ident();
    if (l->depth > 0 && l->owner == thread) {
        l->depth++;
        return 0;
    }
    if (!PyThread_acquire_lock(l->lock, NOWAIT_LOCK)) {
        if (l->process != (long)getpid()) {
            PyErr_SetString(PyExc_RuntimeError, "another thread was using this model when this process was forked: "
                            "load it again here, or fork while it is idle, or start processes by spawn");
            return -1;
        }
        Py_BEGIN_ALLOW_THREADS
        PyThread_acquire_lock(l->lock, WAIT_LOCK);
        Py_END_ALLOW_THREADS
    }
    l->owner = thread;
    l->process = (long)getpid();
    l->depth = 1;
    return 0;
}

void km_binding_model_release(km_binding_model *self)
{
    if (--self->lock.depth == 0)
        PyThread_release_lock(self->lock.lock);
}

/* ---- tensors ------------------------------------------------------------------------------------- */

static int tensor_shape(const km_tensor *tensor, npy_intp shape[2])
{
    shape[0] = (npy_intp)tensor->rows;
    shape[1] = (npy_intp)tensor->cols;
    return tensor->cols > 0 ? 2 : 1;
}

PyObject *km_binding_tensors(const km_layout *layout, const km_real *flat)
{
    PyObject *dict = PyDict_New();
    for (int i = 0; dict != NULL && i < layout->count; i++) {
        const km_tensor *tensor = &layout->tensors[i];
        npy_intp shape[2];
        PyObject *array = km_binding_zeros(tensor_shape(tensor, shape), shape, KM_NPY_REAL);
        if (array != NULL)
            memcpy(PyArray_DATA((PyArrayObject *)array), flat + tensor->offset, tensor->count * sizeof(km_real));
        if (array == NULL || PyDict_SetItemString(dict, tensor->name, array) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(array);
    }
    return dict;
}

int km_binding_set_tensors(const km_layout *layout, km_real *flat, PyObject *dict)
{
    if (!PyDict_Check(dict)) {
        PyErr_Format(PyExc_TypeError, "parameters must be a dict of arrays, got %s", Py_TYPE(dict)->tp_name);
        return -1;
    }
    /* Everything is checked before anything is written: a refused set changes nothing. */
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < layout->count; i++) {
            const km_tensor *tensor = &layout->tensors[i];
            npy_intp shape[2];
            PyObject *object = km_binding_item(dict, tensor->name);
            if (object == NULL) {
                if (!PyErr_Occurred())
                    PyErr_Format(PyExc_KeyError, "the parameter %s is missing", tensor->name);
                return -1;
            }
            PyArrayObject *array = km_binding_array(object, tensor->name, KM_NPY_REAL, tensor_shape(tensor, shape),
                                                    shape);
            if (array == NULL)
                return -1;
            const km_real *values = PyArray_DATA(array);
            if (pass == 1) {
                memcpy(flat + tensor->offset, values, tensor->count * sizeof(km_real));
                continue;
            }
            for (size_t k = 0; k < tensor->count; k++)
                if (!isfinite(values[k])) {
                    PyErr_Format(PyExc_ValueError, "%s holds a value that is not finite, at flat index %zu",
                                 tensor->name, k);
                    return -1;
                }
        }
    if (PyDict_Size(dict) != layout->count) {
        PyErr_Format(PyExc_KeyError, "%zd parameters were given, the model has %d", PyDict_Size(dict), layout->count);
        return -1;
    }
    return 0;
}

/* ---- batches ------------------------------------------------------------------------------------- */

/* dict[name] as array data; optional: NULL data where the name is absent or None. */
static int item(PyObject *dict, const char *name, int type, int ndim, const npy_intp *shape, int optional,
                PyArrayObject **out)
{
    PyObject *object = km_binding_item(dict, name);
    *out = NULL;
    if (object == NULL && PyErr_Occurred())
        return -1;
    if (object == NULL || object == Py_None) {
        if (optional)
            return 0;
        PyErr_Format(PyExc_KeyError, "the batch lacks %s", name);
        return -1;
    }
    *out = km_binding_array(object, name, type, ndim, shape);
    return *out != NULL ? 0 : -1;
}

int km_binding_batch(PyObject *dict, km_batch *batch, const km_config *config, int text)
{
    PyArrayObject *array;
    memset(batch, 0, sizeof *batch);
    if (!PyDict_Check(dict)) {
        PyErr_Format(PyExc_TypeError, "batch must be a dict of arrays, got %s", Py_TYPE(dict)->tp_name);
        return -1;
    }
    npy_intp patches[2] = {-1, (npy_intp)km_config_patch(config)};
    if (item(dict, "patches", KM_NPY_REAL, 2, patches, 0, &array) < 0)
        return -1;
    batch->patches = PyArray_DATA(array);
    batch->T = (int)PyArray_DIM(array, 0);
    npy_intp tokens[1] = {batch->T}, any[1] = {-1};
    if (item(dict, "lead", NPY_INT32, 1, tokens, 0, &array) < 0)
        return -1;
    batch->lead = PyArray_DATA(array);
    if (item(dict, "segment", NPY_INT32, 1, tokens, 0, &array) < 0)
        return -1;
    batch->segment = PyArray_DATA(array);
    if (item(dict, "offset", NPY_INT32, 1, any, 0, &array) < 0)
        return -1;
    batch->offset = PyArray_DATA(array);
    batch->B = (int)PyArray_DIM(array, 0) - 1;
    batch->D = (int)config->text_width;
    if (!text)
        return 0;

    npy_intp report[2] = {batch->B, (npy_intp)config->text_width}, id[1] = {batch->B};
    if (item(dict, "report", KM_NPY_REAL, 2, report, 1, &array) < 0)
        return -1;
    batch->report = array != NULL ? PyArray_DATA(array) : NULL;
    if (item(dict, "report_id", NPY_INT64, 1, id, 1, &array) < 0)
        return -1;
    batch->report_id = array != NULL ? PyArray_DATA(array) : NULL;
    if (item(dict, "recording", NPY_INT64, 1, id, 1, &array) < 0)
        return -1;
    batch->recording = array != NULL ? PyArray_DATA(array) : NULL;
    npy_intp entities[2] = {-1, (npy_intp)config->text_width};
    if (item(dict, "entities", KM_NPY_REAL, 2, entities, 1, &array) < 0)
        return -1;
    batch->entities = array != NULL ? PyArray_DATA(array) : NULL;
    batch->Q = array != NULL ? (int)PyArray_DIM(array, 0) : 0;
    npy_intp labels[2] = {batch->B, batch->Q};
    if (item(dict, "labels", KM_NPY_REAL, 2, labels, 1, &array) < 0)
        return -1;
    batch->labels = array != NULL ? PyArray_DATA(array) : NULL;
    return 0;
}

static PyObject *losses_dict(const km_losses *losses)
{
    return Py_BuildValue("{s:d, s:d, s:d, s:d, s:i}", "contrast", losses->contrast, "unimodal", losses->unimodal,
                         "query", losses->query, "total", losses->total, "duplicates", losses->duplicates);
}

/* ---- types --------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    km_classes *classes;
    PyObject *owner;            /* the Model that made it */
} classes_object;

typedef struct {
    PyObject_HEAD
    km_optimiser optimiser;
    PyObject *owner;
} optimiser_object;

km_binding_model *km_binding_model_check(PyObject *module, PyObject *object)
{
    if (Py_IS_TYPE(object, km_binding_types_of(module)->model))
        return (km_binding_model *)object;
    PyErr_Format(PyExc_TypeError, "model must be a _kmerl.Model, got %s", Py_TYPE(object)->tp_name);
    return NULL;
}

static void free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static void classes_dealloc(PyObject *self)
{
    km_classes_free(((classes_object *)self)->classes);
    Py_CLEAR(((classes_object *)self)->owner);
    free_object(self);
}

static PyType_Slot classes_slots[] = {
    {Py_tp_dealloc, (void *)classes_dealloc},
    {Py_tp_doc, "A class set, ready to be asked of any recording. Made by Model.classes."},
    {0, NULL},
};
static PyType_Spec classes_spec = {
    .name = "kmerl._kmerl.Classes",
    .basicsize = sizeof(classes_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = classes_slots,
};

static PyObject *model_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"config", NULL};
    km_config config;
    km_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&", names, km_binding_config, &config))
        return NULL;
    allocfunc allocate = PyType_GetSlot(type, Py_tp_alloc);
    km_binding_model *self = (km_binding_model *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->lock.lock = PyThread_allocate_lock();
    if (self->lock.lock == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    if (km_model_create(&self->model, &config, &err) != KM_OK) {
        Py_DECREF(self);
        return km_binding_raise(&err);
    }
    return (PyObject *)self;
}

static void model_dealloc(PyObject *object)
{
    km_binding_model *self = (km_binding_model *)object;
    km_model_free(self->model);
    if (self->lock.lock != NULL)
        PyThread_free_lock(self->lock.lock);
    free_object(object);
}

static PyObject *model_initialize(PyObject *object, PyObject *unused)
{
    km_binding_model *self = (km_binding_model *)object;
    (void)unused;
    if (km_binding_model_acquire(self) < 0)
        return NULL;
    km_model_initialize(self->model);
    km_binding_model_release(self);
    Py_RETURN_NONE;
}

static PyObject *model_centre_queries(PyObject *object, PyObject *embeddings)
{
    km_binding_model *self = (km_binding_model *)object;
    npy_intp shape[2] = {-1, (npy_intp)km_model_config(self->model)->text_width};
    km_error err;
    PyArrayObject *x = km_binding_array(embeddings, "embeddings", KM_NPY_REAL, 2, shape);
    if (x == NULL)
        return NULL;
    if (PyArray_DIM(x, 0) < 1) {
        PyErr_SetString(PyExc_ValueError, "embeddings has no rows: expected one for each name that is taught");
        return NULL;
    }
    if (km_binding_model_acquire(self) < 0)
        return NULL;
    km_status status = km_model_centre_queries(self->model, PyArray_DATA(x), (int)PyArray_DIM(x, 0), &err);
    km_binding_model_release(self);
    if (status != KM_OK)
        return km_binding_raise(&err);
    Py_RETURN_NONE;
}

static PyObject *get_part(PyObject *object, km_part part)
{
    km_binding_model *self = (km_binding_model *)object;
    if (km_binding_model_acquire(self) < 0)
        return NULL;
    PyObject *dict = km_binding_tensors(km_model_layout(self->model, part), km_model_data(self->model, part));
    km_binding_model_release(self);
    return dict;
}

static PyObject *set_part(PyObject *object, PyObject *dict, km_part part)
{
    km_binding_model *self = (km_binding_model *)object;
    if (km_binding_model_acquire(self) < 0)
        return NULL;
    int failed = km_binding_set_tensors(km_model_layout(self->model, part), km_model_data(self->model, part), dict);
    km_binding_model_release(self);
    if (failed)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *model_parameters(PyObject *self, PyObject *unused)
{
    (void)unused;
    return get_part(self, KM_PARAMETERS);
}

static PyObject *model_statistics(PyObject *self, PyObject *unused)
{
    (void)unused;
    return get_part(self, KM_STATISTICS);
}

static PyObject *model_set_parameters(PyObject *self, PyObject *dict)
{
    return set_part(self, dict, KM_PARAMETERS);
}

static PyObject *model_set_statistics(PyObject *self, PyObject *dict)
{
    return set_part(self, dict, KM_STATISTICS);
}

static PyObject *model_classes(PyObject *object, PyObject *entities)
{
    km_binding_model *self = (km_binding_model *)object;
    km_error err;
    npy_intp shape[2] = {-1, (npy_intp)km_model_config(self->model)->text_width};
    PyArrayObject *array = km_binding_array(entities, "entities", KM_NPY_REAL, 2, shape);
    if (array == NULL)
        return NULL;
    PyObject *module = PyType_GetModule(Py_TYPE(object));
    PyTypeObject *type = module != NULL ? km_binding_types_of(module)->classes : NULL;
    allocfunc allocate = type != NULL ? PyType_GetSlot(type, Py_tp_alloc) : NULL;
    classes_object *made = allocate != NULL ? (classes_object *)allocate(type, 0) : NULL;
    if (made == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_RuntimeError, "the interpreter shuts down");
        return NULL;
    }
    if (km_binding_model_acquire(self) < 0) {
        Py_DECREF(made);
        return NULL;
    }
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_classes_create(&made->classes, self->model, PyArray_DATA(array), (int)PyArray_DIM(array, 0), &err);
    Py_END_ALLOW_THREADS
    km_binding_model_release(self);
    if (status != KM_OK) {
        Py_DECREF(made);
        return km_binding_raise(&err);
    }
    made->owner = Py_NewRef(object);
    return (PyObject *)made;
}

/* Adds dict[name] = a new (rows, cols) array and points data into it. */
static int output(PyObject *dict, const char *name, npy_intp rows, npy_intp cols, km_real **data)
{
    npy_intp shape[2] = {rows, cols};
    PyObject *array = km_binding_zeros(2, shape, KM_NPY_REAL);
    if (array == NULL || PyDict_SetItemString(dict, name, array) < 0) {
        Py_XDECREF(array);
        return -1;
    }
    *data = PyArray_DATA((PyArrayObject *)array);
    Py_DECREF(array);
    return 0;
}

static PyObject *model_evaluate(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"batch", "classes", "features", "embeddings", "attention", "threads", NULL};
    km_binding_model *self = (km_binding_model *)object;
    const km_config *c = km_model_config(self->model);
    PyObject *dict, *classes = Py_None, *result = NULL;
    int features = 1, embeddings = 0, attention = 0, threads = 1;
    km_batch batch;
    km_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|Opppi", names, &dict, &classes, &features, &embeddings,
                                     &attention, &threads))
        return NULL;
    if (km_binding_batch(dict, &batch, c, embeddings) < 0)
        return NULL;
    if (batch.B < 1) {
        PyErr_SetString(PyExc_ValueError, "the batch is empty: expected at least one recording");
        return NULL;
    }
    classes_object *asked = NULL;
    if (classes != Py_None) {
        PyObject *module = PyType_GetModule(Py_TYPE(object));
        if (module == NULL)
            return NULL;
        asked = (classes_object *)classes;
        if (!Py_IS_TYPE(classes, km_binding_types_of(module)->classes) || asked->owner != object) {
            PyErr_SetString(PyExc_TypeError, "classes must come from this model's classes()");
            return NULL;
        }
    }
    km_outputs outputs;
    memset(&outputs, 0, sizeof outputs);
    int Q = asked != NULL ? km_classes_count(asked->classes) : 0;
    if ((result = PyDict_New()) == NULL)
        return NULL;
    if ((features && output(result, "features", batch.B, (npy_intp)c->width, &outputs.features) < 0) ||
        (Q > 0 && output(result, "logits", batch.B, Q, &outputs.logits) < 0) ||
        (embeddings && output(result, "ecg", batch.B, (npy_intp)c->projection_width, &outputs.ecg) < 0) ||
        (embeddings && batch.report != NULL &&
         output(result, "text", batch.B, (npy_intp)c->projection_width, &outputs.text) < 0) ||
        /* (Q, T) in memory recording by recording: each one's (Q, T_b) from Q * offset[b] */
        (attention && Q > 0 && output(result, "attention", 1, (npy_intp)Q * batch.T, &outputs.attention) < 0)) {
        Py_DECREF(result);
        return NULL;
    }
    if (km_binding_model_acquire(self) < 0) {
        Py_DECREF(result);
        return NULL;
    }
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_model_evaluate(self->model, &outputs, &batch, asked != NULL ? asked->classes : NULL, threads, &err);
    Py_END_ALLOW_THREADS
    km_binding_model_release(self);
    if (status != KM_OK) {
        Py_DECREF(result);
        return km_binding_raise(&err);
    }
    return result;
}

static PyObject *model_project_text(PyObject *object, PyObject *report)
{
    km_binding_model *self = (km_binding_model *)object;
    const km_config *c = km_model_config(self->model);
    km_error err;
    npy_intp shape[2] = {-1, (npy_intp)c->text_width};
    PyArrayObject *array = km_binding_array(report, "report", KM_NPY_REAL, 2, shape);
    if (array == NULL)
        return NULL;
    npy_intp out[2] = {PyArray_DIM(array, 0), (npy_intp)c->projection_width};
    PyObject *text = km_binding_zeros(2, out, KM_NPY_REAL);
    if (text == NULL)
        return NULL;
    if (km_binding_model_acquire(self) < 0) {
        Py_DECREF(text);
        return NULL;
    }
    km_status status = km_model_project_text(self->model, PyArray_DATA((PyArrayObject *)text), PyArray_DATA(array),
                                             (int)out[0], &err);
    km_binding_model_release(self);
    if (status != KM_OK) {
        Py_DECREF(text);
        return km_binding_raise(&err);
    }
    return text;
}

static PyObject *model_losses(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"batch", "threads", NULL};
    km_binding_model *self = (km_binding_model *)object;
    PyObject *dict;
    int threads = 1;
    km_batch batch;
    km_losses losses;
    km_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|i", names, &dict, &threads) ||
        km_binding_batch(dict, &batch, km_model_config(self->model), 1) < 0)
        return NULL;
    if (km_binding_model_acquire(self) < 0)
        return NULL;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_model_losses(self->model, &losses, &batch, threads, &err);
    Py_END_ALLOW_THREADS
    km_binding_model_release(self);
    return status == KM_OK ? losses_dict(&losses) : km_binding_raise(&err);
}

/* The arguments of a training-mode step: batch, step, recordings, threads. 0, or -1 with an exception set. */
static int step_arguments(km_binding_model *self, PyObject *dict, PyObject *recordings, km_batch *batch, km_step *step)
{
    if (km_binding_batch(dict, batch, km_model_config(self->model), 1) < 0)
        return -1;
    step->training = 1;
    if (recordings != Py_None) {
        npy_intp shape[1] = {batch->B};
        PyArrayObject *array = km_binding_array(recordings, "recordings", NPY_INT64, 1, shape);
        if (array == NULL)
            return -1;
        batch->recording = PyArray_DATA(array);
    }
    return 0;
}

static PyObject *model_loss_and_gradients(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"batch", "step", "recordings", "threads", NULL};
    km_binding_model *self = (km_binding_model *)object;
    PyObject *dict, *recordings = Py_None;
    unsigned int number = 0;
    int threads = 1;
    km_batch batch;
    km_step step = {0};
    km_losses losses;
    km_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|IOi", names, &dict, &number, &recordings, &threads) ||
        step_arguments(self, dict, recordings, &batch, &step) < 0)
        return NULL;
    step.threads = threads;
    step.step = number;
    if (km_binding_model_acquire(self) < 0)
        return NULL;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_model_gradients(self->model, &losses, &batch, &step, &err);
    Py_END_ALLOW_THREADS
    PyObject *result = NULL;
    if (status == KM_OK)
        result = Py_BuildValue("NN", losses_dict(&losses),
                               km_binding_tensors(km_model_layout(self->model, KM_GRADIENTS),
                                                  km_model_data(self->model, KM_GRADIENTS)));
    km_binding_model_release(self);
    return status == KM_OK ? result : km_binding_raise(&err);
}

static PyMethodDef model_methods[] = {
    {"initialize", model_initialize, METH_NOARGS, "Parameters from the configuration's seed."},
    {"centre_queries", model_centre_queries, METH_O, "query_init='centred': from the taught names' embeddings (n, D)."},
    {"parameters", model_parameters, METH_NOARGS, "{name: copy}."},
    {"statistics", model_statistics, METH_NOARGS, "{name: copy} of the running statistics."},
    {"set_parameters", model_set_parameters, METH_O, "The full set, or an error and no change."},
    {"set_statistics", model_set_statistics, METH_O, "The full set, or an error and no change."},
    {"classes", model_classes, METH_O, "A class set from entity embeddings (Q, D); valid until parameters change."},
    {"evaluate", (PyCFunction)(void (*)(void))model_evaluate, METH_VARARGS | METH_KEYWORDS,
     "Evaluation mode: {features, logits, ecg, text, attention} as asked."},
    {"project_text", model_project_text, METH_O, "L2-normalised projections of text embeddings."},
    {"losses", (PyCFunction)(void (*)(void))model_losses, METH_VARARGS | METH_KEYWORDS, "Evaluation mode losses."},
    {"loss_and_gradients", (PyCFunction)(void (*)(void))model_loss_and_gradients, METH_VARARGS | METH_KEYWORDS,
     "Training mode losses and {name: gradient}; changes nothing in the model."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot model_slots[] = {
    {Py_tp_new, (void *)model_new},
    {Py_tp_dealloc, (void *)model_dealloc},
    {Py_tp_methods, model_methods},
    {Py_tp_doc, "Model(config): the whole model of a configuration (a dict of numbers, see kmerl.config)."},
    {0, NULL},
};
static PyType_Spec model_spec = {
    .name = "kmerl._kmerl.Model",
    .basicsize = sizeof(km_binding_model),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = model_slots,
};

static PyObject *optimiser_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"model", NULL};
    PyObject *object, *module = PyType_GetModule(type);
    km_error err;
    if (module == NULL || !PyArg_ParseTupleAndKeywords(args, kwargs, "O", names, &object))
        return NULL;
    km_binding_model *model = km_binding_model_check(module, object);
    allocfunc allocate = PyType_GetSlot(type, Py_tp_alloc);
    optimiser_object *self = model != NULL ? (optimiser_object *)allocate(type, 0) : NULL;
    if (self == NULL)
        return NULL;
    if (km_optimiser_create(&self->optimiser, model->model, &err) != KM_OK) {
        Py_DECREF(self);
        return km_binding_raise(&err);
    }
    self->owner = Py_NewRef(object);
    return (PyObject *)self;
}

static void optimiser_dealloc(PyObject *object)
{
    optimiser_object *self = (optimiser_object *)object;
    km_optimiser_free(&self->optimiser);
    Py_CLEAR(self->owner);
    free_object(object);
}

static PyObject *optimiser_step(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"batch", "lr", "recordings", "threads", NULL};
    optimiser_object *self = (optimiser_object *)object;
    km_binding_model *model = (km_binding_model *)self->owner;
    PyObject *dict, *recordings = Py_None;
    double lr;
    int threads = 1;
    km_batch batch;
    km_step step = {0};
    km_losses losses;
    km_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Od|Oi", names, &dict, &lr, &recordings, &threads) ||
        step_arguments(model, dict, recordings, &batch, &step) < 0)
        return NULL;
    step.threads = threads;
    step.update_statistics = 1;
    step.step = (uint32_t)self->optimiser.step;
    if (km_binding_model_acquire(model) < 0)
        return NULL;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_model_gradients(model->model, &losses, &batch, &step, &err);
    if (status == KM_OK)
        km_optimiser_update(&self->optimiser, model->model, lr, km_optimiser_norm(model->model), threads);
    Py_END_ALLOW_THREADS
    km_binding_model_release(model);
    return status == KM_OK ? losses_dict(&losses) : km_binding_raise(&err);
}

static PyMethodDef optimiser_methods[] = {
    {"step", (PyCFunction)(void (*)(void))optimiser_step, METH_VARARGS | METH_KEYWORDS,
     "One training step at learning rate lr: losses, gradients, running statistics, AdamW. Returns the losses."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot optimiser_slots[] = {
    {Py_tp_new, (void *)optimiser_new},
    {Py_tp_dealloc, (void *)optimiser_dealloc},
    {Py_tp_methods, optimiser_methods},
    {Py_tp_doc, "Optimiser(model): AdamW for a loop of one's own."},
    {0, NULL},
};
static PyType_Spec optimiser_spec = {
    .name = "kmerl._kmerl.Optimiser",
    .basicsize = sizeof(optimiser_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = optimiser_slots,
};

int km_binding_model_add(PyObject *module)
{
    km_binding_types *types = km_binding_types_of(module);
    if (km_binding_type_add(module, &classes_spec, &types->classes) < 0 ||
        km_binding_type_add(module, &model_spec, &types->model) < 0)
        return -1;
    return km_binding_type_add(module, &optimiser_spec, NULL);
}
