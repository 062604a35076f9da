/* _kmerl.Trainer: the training loop over a corpus. */
#include "python/binding.h"

#include <string.h>

#include "data/sampler.h"
#include "python/corpus.h"
#include "python/model.h"
#include "python/simulate.h"
#include "train/head.h"
#include "train/trainer.h"

typedef struct {
    PyObject_HEAD
    km_trainer trainer;
    km_sampler sampler;
    km_head head;                   /* fine-tuning only      */
    const km_corpus *corpus;
    PyObject *model, *source;       /* kept alive            */
    PyObject *hook;                 /* while run() is active */
} trainer_object;

static km_status draw(void *context, km_batch *batch, const int64_t *index, int B, const km_config *config,
                      uint64_t seed, uint32_t epoch, int threads, km_error *err)
{
    trainer_object *self = context;
    km_status status =
        km_sampler_batch(&self->sampler, self->corpus, index, B, config, seed, epoch, 1, threads, err);
    *batch = self->sampler.batch;
    return status;
}

/* dict[name] as a list of recording numbers; borrowed. */
static PyArrayObject *indices(PyObject *object, const char *name)
{
    npy_intp any[1] = {-1};
    return km_binding_array(object, name, NPY_INT64, 1, any);
}

static PyObject *trainer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"model", "source", "train", "validation", "threads", "classes", "skip_nonfinite", NULL};
    PyObject *module = PyType_GetModule(type), *model_argument, *source_argument, *train_argument, *validation_argument;
    int threads = 1, classes = 0, skip_nonfinite = 0;
    km_error err;
    if (module == NULL ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|iip", names, &model_argument, &source_argument,
                                     &train_argument, &validation_argument, &threads, &classes,
                                     &skip_nonfinite))
        return NULL;
    km_binding_model *model = km_binding_model_check(module, model_argument);
    if (model == NULL)
        return NULL;
    km_feed *feed = km_binding_feed_get(module, source_argument);
    const km_corpus *corpus = feed == NULL ? km_binding_corpus_get(module, source_argument) : NULL;
    PyArrayObject *train = feed != NULL || corpus != NULL ? indices(train_argument, "train") : NULL;
    PyArrayObject *validation = train != NULL ? indices(validation_argument, "validation") : NULL;
    if (validation == NULL)
        return NULL;
    allocfunc allocate = PyType_GetSlot(type, Py_tp_alloc);
    trainer_object *self = (trainer_object *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->model = Py_NewRef(model_argument);
    self->source = Py_NewRef(source_argument);
    self->corpus = corpus;
    km_source source = {self, draw};
    if (feed != NULL)
        source = (km_source){feed, km_feed_draw};
    km_objective objective = km_head_objective(&self->head);
    if ((classes != 0 && km_head_create(&self->head, km_model_config(model->model), classes, &err) != KM_OK) ||
        km_trainer_create(&self->trainer, model->model, source, classes != 0 ? &objective : NULL, PyArray_DATA(train),
                          PyArray_SIZE(train), PyArray_DATA(validation), PyArray_SIZE(validation), threads,
                          &err) != KM_OK) {
        Py_DECREF(self);
        return km_binding_raise(&err);
    }
    self->trainer.skip_nonfinite = skip_nonfinite;
    return (PyObject *)self;
}

static void trainer_dealloc(PyObject *object)
{
    trainer_object *self = (trainer_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    km_trainer_free(&self->trainer);
    km_head_free(&self->head);
    km_sampler_free(&self->sampler);
    Py_CLEAR(self->model);
    Py_CLEAR(self->source);
    freefunc release = PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* Tells Python of a step or validation, and lets it handle signals. Runs without the GIL held by the loop. */
static int tell(void *context, const km_progress *p)
{
    trainer_object *self = context;
    PyGILState_STATE state = PyGILState_Ensure();
    PyObject *answer = NULL, *recordings = PyList_New(p->nonfinite != NULL ? p->indices : 0);
    for (int i = 0; recordings != NULL && i < PyList_Size(recordings); i++)
        PyList_SetItem(recordings, i, PyLong_FromLongLong((long long)p->index[i]));
    static const char *const events[] = {"step", "validating", "validation"};
    answer = PyObject_CallFunction(
        self->hook, "N",
        Py_BuildValue("{s:s, s:L, s:L, s:L, s:L, s:i, s:L, s:L, s:d, s:d, s:d, s:d, s:i, s:d, s:d, s:z, s:N}", "event",
                      events[p->event], "step", (long long)p->step, "steps", (long long)p->steps, "epoch",
                      (long long)p->epoch, "recordings", (long long)p->recordings, "skipped", p->skipped, "repaired",
                      (long long)p->repaired, "dropped", (long long)p->dropped, "contrast", p->losses.contrast,
                      "unimodal", p->losses.unimodal, "query", p->losses.query, "loss",
                      p->losses.total, "duplicates", p->losses.duplicates, "lr", p->lr,
                      "gradient_norm", p->gradient_norm, "nonfinite", p->nonfinite, "indices", recordings));
    /* Signals come after the hook: what was done is on record before anything can stop the run. */
    int stop = answer == NULL || PyErr_CheckSignals() < 0;
    Py_XDECREF(answer);
    PyGILState_Release(state);
    return stop;
}

static PyObject *trainer_run(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"until", "hook", NULL};
    trainer_object *self = (trainer_object *)object;
    km_binding_model *model = (km_binding_model *)self->model;
    long long until;
    PyObject *hook;
    km_error err;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "LO", names, &until, &hook))
        return NULL;
    if (km_binding_model_acquire(model) < 0)
        return NULL;
    if (self->hook != NULL) {       /* the same thread: others wait above */
        km_binding_model_release(model);
        PyErr_SetString(PyExc_RuntimeError, "the trainer is running: its hook cannot run it again");
        return NULL;
    }
    self->hook = hook;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_trainer_run(&self->trainer, until, tell, self, &err);
    Py_END_ALLOW_THREADS
    self->hook = NULL;
    km_binding_model_release(model);
    if (status != KM_OK)
        return km_binding_raise(&err);      /* the hook's own exception where it raised one */
    Py_RETURN_NONE;
}

static PyObject *trainer_state(PyObject *object, PyObject *unused)
{
    trainer_object *self = (trainer_object *)object;
    const km_layout *layout = km_model_layout(self->trainer.model, KM_PARAMETERS);
    (void)unused;
    return Py_BuildValue("{s:L, s:L, s:L, s:L, s:N, s:N}", "step", (long long)self->trainer.optimiser.step, "passed",
                         (long long)self->trainer.optimiser.passed, "validated",
                         (long long)self->trainer.validated, "epoch_steps",
                         (long long)km_trainer_epoch_steps(&self->trainer), "m",
                         km_binding_tensors(layout, self->trainer.optimiser.m), "v",
                         km_binding_tensors(layout, self->trainer.optimiser.v));
}

static PyObject *trainer_set_state(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"step", "validated", "m", "v", "passed", NULL};
    trainer_object *self = (trainer_object *)object;
    const km_layout *layout = km_model_layout(self->trainer.model, KM_PARAMETERS);
    long long step, validated, passed = 0;
    PyObject *m, *v;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "LLOO|L", names, &step, &validated, &m, &v, &passed))
        return NULL;
    if (step < 0 || validated < 0 || validated > step || passed < 0 || passed > step) {
        PyErr_Format(PyExc_ValueError, "step must be at least 0, validated and passed from 0 to step, got %lld, %lld "
                     "and %lld", step, validated, passed);
        return NULL;
    }
    if (km_binding_set_tensors(layout, self->trainer.optimiser.m, m) < 0 ||
        km_binding_set_tensors(layout, self->trainer.optimiser.v, v) < 0)
        return NULL;
    self->trainer.optimiser.step = step;
    self->trainer.optimiser.passed = passed;
    self->trainer.validated = validated;
    Py_RETURN_NONE;
}

/* The head's values and moments: each (K C + K), weights (K, C) before biases (K). */
static PyObject *trainer_head(PyObject *object, PyObject *unused)
{
    const km_head *head = &((trainer_object *)object)->head;
    const km_real *const from[] = {head->w, head->m, head->v};
    npy_intp size = (npy_intp)head->size;
    PyObject *arrays[3] = {NULL, NULL, NULL}, *result = NULL;
    (void)unused;
    for (int i = 0; i < 3; i++) {
        if ((arrays[i] = km_binding_zeros(1, &size, KM_NPY_REAL)) == NULL)
            goto exit;
        if (size > 0)
            memcpy(PyArray_DATA((PyArrayObject *)arrays[i]), from[i], head->size * sizeof(km_real));
    }
    result = PyTuple_Pack(3, arrays[0], arrays[1], arrays[2]);

exit:
    for (int i = 0; i < 3; i++)
        Py_XDECREF(arrays[i]);
    return result;
}

static PyObject *trainer_set_head(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"w", "m", "v", NULL};
    km_head *head = &((trainer_object *)object)->head;
    km_real *const to[] = {head->w, head->m, head->v};
    npy_intp size = (npy_intp)head->size;
    PyObject *objects[3];
    PyArrayObject *arrays[3];
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO", names, &objects[0], &objects[1], &objects[2]))
        return NULL;
    for (int i = 0; i < 3; i++)
        if ((arrays[i] = km_binding_array(objects[i], names[i], KM_NPY_REAL, 1, &size)) == NULL)
            return NULL;
    for (int i = 0; i < 3 && size > 0; i++)
        memcpy(to[i], PyArray_DATA(arrays[i]), head->size * sizeof(km_real));
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"head", trainer_head, METH_NOARGS, "Copies of the head's values and of its moments m and v; empty without one."},
    {"set_head", (PyCFunction)(void (*)(void))trainer_set_head, METH_VARARGS | METH_KEYWORDS,
     "Replaces all three."},
    {"run", (PyCFunction)(void (*)(void))trainer_run, METH_VARARGS | METH_KEYWORDS,
     "Trains until so many updates are done; hook gets a dict after every step and validation, and may raise."},
    {"state", trainer_state, METH_NOARGS, "Step, passed, validated, epoch_steps, and copies of the moments m and v."},
    {"set_state", (PyCFunction)(void (*)(void))trainer_set_state, METH_VARARGS | METH_KEYWORDS,
     "Goes back to a state."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_new, (void *)trainer_new},
    {Py_tp_dealloc, (void *)trainer_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_doc, "Trainer(model, source, train, validation, threads=1, classes=0, skip_nonfinite=False): AdamW over a\n"
                "corpus's or feed's recordings; skip_nonfinite: a step without a finite loss and gradient is no\n"
                "update and an error otherwise. With classes, a linear head on the features and the encoder learn the\n"
                "corpus's labels."},
    {0, NULL},
};
static PyType_Spec spec = {
    .name = "kmerl._kmerl.Trainer",
    .basicsize = sizeof(trainer_object),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

int km_binding_trainer_add(PyObject *module)
{
    return km_binding_type_add(module, &spec, NULL);
}
