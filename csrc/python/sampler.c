/* Batches from a corpus (training) and from recordings (answers), and the masks alone. */
#include "python/binding.h"

#include <string.h>

#include "data/masks.h"
#include "data/preprocess.h"
#include "data/sampler.h"
#include "model/config.h"
#include "python/config.h"
#include "python/corpus.h"

/* dict[name] = a copy of data; steals nothing. 0 or -1. */
static int put(PyObject *dict, const char *name, const void *data, int type, int ndim, npy_intp rows, npy_intp cols)
{
    const npy_intp shape[2] = {rows, cols};
    PyObject *array = PyArray_SimpleNew(ndim, (npy_intp *)shape, type);
    if (array == NULL)
        return -1;
    if (PyArray_NBYTES((PyArrayObject *)array) > 0)
        memcpy(PyArray_DATA((PyArrayObject *)array), data, (size_t)PyArray_NBYTES((PyArrayObject *)array));
    int result = PyDict_SetItemString(dict, name, array);
    Py_DECREF(array);
    return result;
}

#define PUT_ROWS(field, ctype, type)                                                        \
    do {                                                                                    \
        npy_intp shape_[1] = {s->batch.B};                                                  \
        PyObject *array_ = PyArray_SimpleNew(1, shape_, type);                              \
        for (int b_ = 0; array_ != NULL && b_ < s->batch.B; b_++)                           \
            ((ctype *)PyArray_DATA((PyArrayObject *)array_))[b_] = (ctype)s->rows[b_].field; \
        if (array_ == NULL || PyDict_SetItemString(dict, #field, array_) < 0)               \
            Py_CLEAR(dict);                                                                 \
        Py_XDECREF(array_);                                                                 \
        if (dict == NULL)                                                                   \
            return NULL;                                                                    \
    } while (0)

static PyObject *batch_dict(const km_sampler *s, const km_config *config)
{
    const km_batch *b = &s->batch;
    PyObject *dict = PyDict_New();
    if (dict == NULL)
        return NULL;
    if (put(dict, "patches", b->patches, KM_NPY_REAL, 2, b->T, (npy_intp)km_config_patch(config)) < 0 ||
        put(dict, "lead", b->lead, NPY_INT32, 1, b->T, 0) < 0 ||
        put(dict, "segment", b->segment, NPY_INT32, 1, b->T, 0) < 0 ||
        put(dict, "offset", b->offset, NPY_INT32, 1, (npy_intp)b->B + 1, 0) < 0 ||
        (b->report != NULL && put(dict, "report", b->report, KM_NPY_REAL, 2, b->B, b->D) < 0) ||
        (b->report_id != NULL && put(dict, "report_id", b->report_id, NPY_INT64, 1, b->B, 0) < 0) ||
        (b->labels != NULL && put(dict, "labels", b->labels, KM_NPY_REAL, 2, b->B, b->Q) < 0) ||
        (b->entities != NULL && b->Q > 0 && put(dict, "entities", b->entities, KM_NPY_REAL, 2, b->Q, b->D) < 0)) {
        Py_DECREF(dict);
        return NULL;
    }
    PUT_ROWS(recording, int64_t, NPY_INT64);
    PUT_ROWS(start, int64_t, NPY_INT64);
    PUT_ROWS(segments, int32_t, NPY_INT32);
    PUT_ROWS(repaired, int64_t, NPY_INT64);
    PUT_ROWS(dropped, uint16_t, NPY_UINT16);
    PUT_ROWS(visible, uint16_t, NPY_UINT16);
    return dict;
}

PyDoc_STRVAR(sample_batch_doc,
"sample_batch(corpus, indices, config, seed, epoch, threads)\n--\n\n"
"A training batch of the corpus's recordings `indices` (B) int64: dict of patches, lead, segment, offset, report,\n"
"report_id, labels, entities, and a row each of recording, start, segments, repaired, dropped, visible.");

static PyObject *sample_batch(PyObject *module, PyObject *args)
{
    PyObject *corpus_argument, *indices_argument;
    km_config config;
    unsigned long long seed;
    unsigned int epoch;
    int threads;
    if (!PyArg_ParseTuple(args, "OOO&KIi:sample_batch", &corpus_argument, &indices_argument, km_binding_config, &config,
                          &seed, &epoch, &threads))
        return NULL;
    const km_corpus *corpus = km_binding_corpus_get(module, corpus_argument);
    PyArrayObject *indices = km_binding_array(indices_argument, "indices", NPY_INT64, 1, NULL);
    if (corpus == NULL || indices == NULL)
        return NULL;
    if (PyArray_DIM(indices, 0) > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "indices has too many entries");
        return NULL;
    }
    km_error err;
    km_sampler sampler = {0};
    const int64_t *at = PyArray_DATA(indices);
    const int B = (int)PyArray_DIM(indices, 0);
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_config_check(&config, &err);
    if (status == KM_OK)
        status = km_sampler_batch(&sampler, corpus, at, B, &config, seed, epoch, 0, threads, &err);
    Py_END_ALLOW_THREADS
    PyObject *result = status == KM_OK ? batch_dict(&sampler, &config) : km_binding_raise(&err);
    km_sampler_free(&sampler);
    return result;
}

PyDoc_STRVAR(sample_windows_doc,
"sample_windows(signals, leads, names, config, first, apart, threads)\n--\n\n"
"An unmasked batch of the consecutive windows (or only the first) of recordings: lists of (leads, samples) float32 in\n"
"mV at the config's rate, of (leads) int32 canonical ids, and of names for messages. A dict as of sample_batch,\n"
"without texts; recording says which one a row belongs to. apart: a row for each visible lead of a window.");

static PyObject *sample_windows(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *signals, *leads, *names, *result = NULL;
    km_config config;
    int first, apart, threads;
    if (!PyArg_ParseTuple(args, "O!O!O!O&ppi:sample_windows", &PyList_Type, &signals, &PyList_Type, &leads,
                          &PyList_Type, &names, km_binding_config, &config, &first, &apart, &threads))
        return NULL;
    const Py_ssize_t count = PyList_GET_SIZE(signals);
    if (PyList_GET_SIZE(leads) != count || PyList_GET_SIZE(names) != count || count > INT32_MAX) {
        PyErr_Format(PyExc_ValueError, "signals has %zd entries, leads %zd, names %zd", count, PyList_GET_SIZE(leads),
                     PyList_GET_SIZE(names));
        return NULL;
    }
    /* Own references: the lists belong to the caller, who may change them while the work runs without the GIL. */
    PyObject *kept = PyTuple_New(3 * count);
    km_sampler_input *inputs = PyMem_Calloc((size_t)count + 1, sizeof *inputs);
    if (kept == NULL || inputs == NULL) {
        if (inputs == NULL)
            PyErr_NoMemory();
        goto exit;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *list[3] = {PyList_GET_ITEM(signals, i), PyList_GET_ITEM(leads, i), PyList_GET_ITEM(names, i)};
        for (int k = 0; k < 3; k++)
            PyTuple_SET_ITEM(kept, 3 * i + k, Py_NewRef(list[k]));
        PyArrayObject *signal = km_binding_array(list[0], "signals", NPY_FLOAT32, 2, NULL);
        if (signal == NULL)
            goto exit;
        const npy_intp rows[1] = {PyArray_DIM(signal, 0)};
        PyArrayObject *ids = km_binding_array(list[1], "leads", NPY_INT32, 1, rows);
        const char *name = ids != NULL ? PyUnicode_AsUTF8(list[2]) : NULL;
        if (name == NULL)
            goto exit;
        inputs[i] = (km_sampler_input){
            .signal = PyArray_DATA(signal), .lead = PyArray_DATA(ids), .leads = (int)rows[0],
            .samples = PyArray_DIM(signal, 1), .name = name,
        };
        unsigned seen = 0;
        for (npy_intp k = 0; k < rows[0]; k++) {
            const int32_t id = inputs[i].lead[k];
            if (id < 0 || id >= KM_LEADS || seen >> id & 1) {
                PyErr_Format(PyExc_ValueError, "%s: lead ids must be in 0 .. 11, each once, got %d", name, (int)id);
                goto exit;
            }
            seen |= 1u << id;
        }
        if (rows[0] < 1) {
            PyErr_Format(PyExc_ValueError, "%s has 0 leads", name);
            goto exit;
        }
    }
    km_error err;
    km_sampler sampler = {0};
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_config_check(&config, &err);
    if (status == KM_OK)
        status = km_sampler_windows(&sampler, inputs, (int)count, &config, first, apart, threads, &err);
    Py_END_ALLOW_THREADS
    result = status == KM_OK ? batch_dict(&sampler, &config) : km_binding_raise(&err);
    km_sampler_free(&sampler);

exit:
    PyMem_Free(inputs);
    Py_XDECREF(kept);
    return result;
}

PyDoc_STRVAR(normalise_doc,
"normalise(x, kind)\n--\n\n"
"x (leads, n) float32 without missing samples, normalised as SPEC 1 says; kind is the config's number.");

static PyObject *normalise(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *object;
    int kind;
    if (!PyArg_ParseTuple(args, "Oi:normalise", &object, &kind))
        return NULL;
    PyArrayObject *x = km_binding_array(object, "x", NPY_FLOAT32, 2, NULL);
    if (x == NULL)
        return NULL;
    if (PyArray_DIM(x, 0) < 1 || PyArray_DIM(x, 0) > KM_LEADS || PyArray_DIM(x, 1) < 1 || kind < KM_ZSCORE ||
        kind > KM_NO_NORMALISATION) {
        PyErr_SetString(PyExc_ValueError, "x must be (1 .. 12 leads, 1 or more samples), kind 0 .. 3");
        return NULL;
    }
    PyObject *result = PyArray_NewCopy(x, NPY_CORDER);
    uint32_t *scratch = PyMem_Malloc((size_t)PyArray_DIM(x, 1) * sizeof *scratch);
    if (result == NULL || scratch == NULL) {
        PyMem_Free(scratch);
        Py_XDECREF(result);
        return PyErr_NoMemory();
    }
    km_preprocess_normalise(PyArray_DATA((PyArrayObject *)result), (int)PyArray_DIM(x, 0), PyArray_DIM(x, 1),
                            (km_normalisation)kind, scratch);
    PyMem_Free(scratch);
    return result;
}

PyDoc_STRVAR(merl_signal_doc,
"merl_signal(x, taken, length, stored)\n--\n\n"
"x (leads, n) float32 as MERL prepares it (SPEC 1): the first taken samples, zeros up to length, min-max over all;\n"
"stored: in steps of 1/1000.");

static PyObject *merl_signal(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *object;
    long long taken, length;
    int stored;
    if (!PyArg_ParseTuple(args, "OLLp:merl_signal", &object, &taken, &length, &stored))
        return NULL;
    PyArrayObject *x = km_binding_array(object, "x", NPY_FLOAT32, 2, NULL);
    if (x == NULL)
        return NULL;
    if (PyArray_DIM(x, 0) < 1 || PyArray_DIM(x, 1) < 1 || taken < 1 || taken > length || length > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "x must be (1 or more leads, 1 or more samples), taken 1 .. length");
        return NULL;
    }
    npy_intp shape[2] = {PyArray_DIM(x, 0), (npy_intp)length};
    PyObject *result = PyArray_SimpleNew(2, shape, NPY_FLOAT32);
    if (result != NULL)
        km_preprocess_merl(PyArray_DATA((PyArrayObject *)result), PyArray_DATA(x), (int)shape[0], PyArray_DIM(x, 1),
                           taken, length, stored);
    return result;
}

PyDoc_STRVAR(repair_doc,
"repair(x)\n--\n\n"
"x (leads, n) float32 with missing samples interpolated, and how many there were in each lead.");

static PyObject *repair(PyObject *module, PyObject *object)
{
    (void)module;
    PyArrayObject *x = km_binding_array(object, "x", NPY_FLOAT32, 2, NULL);
    if (x == NULL)
        return NULL;
    const npy_intp leads = PyArray_DIM(x, 0), n = PyArray_DIM(x, 1);
    PyObject *result = PyArray_NewCopy(x, NPY_CORDER), *missing = km_binding_zeros(1, &leads, NPY_INT64);
    if (result == NULL || missing == NULL) {
        Py_XDECREF(result);
        Py_XDECREF(missing);
        return NULL;
    }
    for (npy_intp i = 0; i < leads; i++)
        ((int64_t *)PyArray_DATA((PyArrayObject *)missing))[i] =
            km_preprocess_repair((float *)PyArray_DATA((PyArrayObject *)result) + i * n, n);
    return Py_BuildValue("(NN)", result, missing);
}

PyDoc_STRVAR(mask_leads_doc,
"mask_leads(present, masked_leads, seed, epoch, recording)\n--\n\n"
"(order, count): the leads of the set `present` (bits) in random order; the first count are shown.");

static PyObject *mask_leads(PyObject *module, PyObject *args)
{
    (void)module;
    unsigned int present, epoch;
    unsigned long long seed;
    long long recording;
    double masked[KM_LEADS];
    if (!PyArg_ParseTuple(args, "I(dddddddddddd)KIL:mask_leads", &present, masked, masked + 1, masked + 2, masked + 3,
                          masked + 4, masked + 5, masked + 6, masked + 7, masked + 8, masked + 9, masked + 10,
                          masked + 11, &seed, &epoch, &recording))
        return NULL;
    if (present == 0 || present >> KM_LEADS != 0 || recording < 0) {
        PyErr_SetString(PyExc_ValueError, "present must be a set of leads, recording 0 or more");
        return NULL;
    }
    int order[KM_LEADS], leads = 0;
    int count = km_masks_leads(order, (uint16_t)present, masked, seed, epoch, recording);
    for (unsigned set = present; set != 0; set &= set - 1)
        leads++;
    PyObject *list = PyList_New(leads);
    for (int i = 0; list != NULL && i < leads; i++)
        PyList_SET_ITEM(list, i, PyLong_FromLong(order[i]));
    return list != NULL ? Py_BuildValue("(Ni)", list, count) : NULL;
}

PyDoc_STRVAR(mask_segments_doc,
"mask_segments(n, ratio, seed, epoch, recording, group)\n--\n\n"
"(n) uint8: 1 for the segments that are kept; group is the lead, or 12 for all tokens at once.");

static PyObject *mask_segments(PyObject *module, PyObject *args)
{
    (void)module;
    long long n, recording;
    double ratio;
    unsigned long long seed;
    unsigned int epoch;
    int group;
    if (!PyArg_ParseTuple(args, "LdKILi:mask_segments", &n, &ratio, &seed, &epoch, &recording, &group))
        return NULL;
    if (n < 1 || n > INT32_MAX || !(ratio >= 0.0 && ratio < 1.0) || recording < 0 || group < 0 || group > KM_LEADS) {
        PyErr_SetString(PyExc_ValueError, "n must be 1 or more, ratio in [0, 1), recording 0 or more, group 0 .. 12");
        return NULL;
    }
    const npy_intp shape[1] = {(npy_intp)n};
    PyObject *keep = km_binding_zeros(1, shape, NPY_UINT8);
    if (keep != NULL)
        km_masks_segments(PyArray_DATA((PyArrayObject *)keep), n, km_masks_kept(n, ratio), seed, epoch, recording,
                          group);
    return keep;
}

static PyMethodDef methods[] = {
    {"sample_batch", sample_batch, METH_VARARGS, sample_batch_doc},
    {"sample_windows", sample_windows, METH_VARARGS, sample_windows_doc},
    {"normalise", normalise, METH_VARARGS, normalise_doc},
    {"merl_signal", merl_signal, METH_VARARGS, merl_signal_doc},
    {"repair", repair, METH_O, repair_doc},
    {"mask_leads", mask_leads, METH_VARARGS, mask_leads_doc},
    {"mask_segments", mask_segments, METH_VARARGS, mask_segments_doc},
    {NULL, NULL, 0, NULL},
};

int km_binding_sampler_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
