/* Recordings: lead names, WFDB bytes to signals, resampling. */
#include "python/binding.h"

#include "data/leads.h"
#include "data/preprocess.h"
#include "data/steps.h"
#include "data/wfdb_file.h"

static PyObject *names_of(const int32_t *ids, int count)
{
    PyObject *list = PyList_New(count);
    for (int i = 0; list != NULL && i < count; i++) {
        PyObject *name = PyUnicode_FromString(km_leads_name(ids[i]));
        if (name == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, name);
    }
    return list;
}

static PyObject *lead_orders(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *dict = PyDict_New();
    for (int order = 0; dict != NULL && order < KM_LEADS_ORDERS; order++) {
        PyObject *names = names_of(km_leads_order_get(order), KM_LEADS);
        if (names == NULL || PyDict_SetItemString(dict, km_leads_order_name(order), names) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(names);
    }
    return dict;
}

static PyObject *lead_find(PyObject *module, PyObject *argument)
{
    (void)module;
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(argument, &length);
    if (text == NULL)
        return NULL;
    return PyLong_FromLong(km_leads_find(text, (size_t)length));
}

/* Text of a header: UTF-8, or Latin-1 where it is not. */
static PyObject *decoded(km_wfdb_text text)
{
    PyObject *string = PyUnicode_DecodeUTF8(text.start, (Py_ssize_t)text.length, NULL);
    if (string == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        string = PyUnicode_DecodeLatin1(text.start, (Py_ssize_t)text.length, NULL);
    }
    return string;
}

static PyObject *decoded_list(const km_wfdb_text *texts, int count)
{
    PyObject *list = PyList_New(count);
    for (int i = 0; list != NULL && i < count; i++) {
        PyObject *string = decoded(texts[i]);
        if (string == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, string);
    }
    return list;
}

/* Which leads to read: None (all), False (those of the twelve), or a tuple of canonical ids. */
typedef struct selection {
    int strict, count;      /* count -1: no list */
    int leads[KM_LEADS];
} selection;

static int selection_convert(PyObject *object, void *result)
{
    selection *s = result;
    s->count = -1;
    s->strict = object == Py_None;
    if (object == Py_None || object == Py_False)
        return 1;
    if (!PyTuple_Check(object) || PyTuple_GET_SIZE(object) < 1 || PyTuple_GET_SIZE(object) > KM_LEADS) {
        PyErr_SetString(PyExc_TypeError, "leads must be None, False or a tuple of 1 to 12 lead ids");
        return 0;
    }
    s->count = (int)PyTuple_GET_SIZE(object);
    for (int i = 0; i < s->count; i++) {
        long id = PyLong_AsLong(PyTuple_GET_ITEM(object, i));
        if (id == -1 && PyErr_Occurred())
            return 0;
        if (id < 0 || id >= KM_LEADS) {
            PyErr_Format(PyExc_ValueError, "lead id must be in 0 .. 11, got %ld", id);
            return 0;
        }
        s->leads[i] = (int)id;
    }
    return 1;
}

static km_status select_rows(int *rows, int *row_count, const km_wfdb *header, const selection *s, km_error *err)
{
    return km_wfdb_select(rows, row_count, header, s->count < 0 ? NULL : s->leads, s->count, s->strict, err);
}

/* Calls load(name, bytes wanted or -1) -> (bytes, size of the file); a new reference to the bytes. */
static PyObject *load_file(uint64_t *size, PyObject *load, const km_wfdb *header, int signal)
{
    const km_wfdb_signal *s = &header->signal[signal];
    int64_t wanted = -1;
    if (header->samples > 0)
        wanted = s->start + 2 * header->samples * km_wfdb_width(header, signal);
    PyObject *name = PyUnicode_DecodeFSDefaultAndSize(s->file.start, (Py_ssize_t)s->file.length);
    if (name == NULL)
        return NULL;
    PyObject *answer = PyObject_CallFunction(load, "NL", name, (long long)wanted);
    PyObject *bytes = NULL;
    unsigned long long length;
    if (answer != NULL && PyArg_ParseTuple(answer, "SK", &bytes, &length)) {
        *size = length;
        Py_INCREF(bytes);
    } else {
        bytes = NULL;
    }
    Py_XDECREF(answer);
    return bytes;
}

PyDoc_STRVAR(wfdb_read_doc,
"wfdb_read(header, load, verify, leads)\n--\n\n"
"Read a WFDB recording of format 16: (signal (leads, samples) float32 in mV, fs, lead names, comments).\n"
"None where the signals are in a form that is not read here. load(name, wanted) gives (bytes, file size).");

static PyObject *wfdb_read(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer text;
    PyObject *load, *result = NULL, *signal = NULL, *bytes = NULL;
    int verify;
    selection chosen;
    if (!PyArg_ParseTuple(args, "y*OpO&:wfdb_read", &text, &load, &verify, selection_convert, &chosen))
        return NULL;

    km_error err = {KM_OK, ""};
    km_wfdb header;
    int rows[KM_LEADS], count, done[KM_LEADS] = {0};
    int32_t ids[KM_LEADS];
    int64_t samples = 0;
    if (km_wfdb_create(&header, text.buf, (size_t)text.len, &err) != KM_OK) {
        PyBuffer_Release(&text);
        return km_binding_raise(&err);
    }
    if (header.segments > 1) {
        result = Py_NewRef(Py_None);
        goto exit;
    }
    if (select_rows(rows, &count, &header, &chosen, &err) != KM_OK)
        goto exit;
    for (int i = 0; i < count; i++) {
        ids[i] = header.signal[rows[i]].lead;
        double scale;
        if (km_wfdb_scale(&scale, &header.signal[rows[i]], &err) != KM_OK)
            goto exit;
        if (!km_wfdb_readable(&header, rows[i])) {
            result = Py_NewRef(Py_None);
            goto exit;
        }
    }

    for (int i = 0; i < count; i++) {
        if (done[i])
            continue;
        uint64_t size = 0;
        int64_t length;
        const km_wfdb_text file = header.signal[rows[i]].file;
        bytes = load_file(&size, load, &header, rows[i]);
        if (bytes == NULL || km_wfdb_length(&length, &header, rows[i], size, verify, &err) != KM_OK)
            goto exit;
        if (signal == NULL) {
            samples = length;
            const npy_intp shape[2] = {count, samples};
            signal = PyArray_SimpleNew(2, (npy_intp *)shape, NPY_FLOAT32);
            if (signal == NULL)
                goto exit;
        } else if (length != samples) {
            km_error_set(&err, KM_VALUE, "file %.*s holds %lld samples a signal, the files before it %lld",
                         (int)(file.length < 60 ? file.length : 60), file.start, (long long)length, (long long)samples);
            goto exit;
        }
        float *x = PyArray_DATA((PyArrayObject *)signal);
        const unsigned char *data = (const unsigned char *)PyBytes_AS_STRING(bytes);
        const size_t there = (size_t)PyBytes_GET_SIZE(bytes);
        km_status status = KM_OK;
        Py_BEGIN_ALLOW_THREADS
        for (int j = i; j < count && status == KM_OK; j++) {
            const km_wfdb_text other = header.signal[rows[j]].file;
            if (other.length != file.length || memcmp(other.start, file.start, file.length) != 0)
                continue;
            done[j] = 1;
            status = km_wfdb_decode(x + j * samples, samples, &header, rows[j], data, there, verify, &err);
        }
        Py_END_ALLOW_THREADS
        if (status != KM_OK)
            goto exit;
        Py_CLEAR(bytes);
    }

    PyObject *names = names_of(ids, count), *comments = decoded_list(header.comment, header.comment_count);
    if (names != NULL && comments != NULL)
        result = Py_BuildValue("(OdOO)", signal, header.fs, names, comments);
    Py_XDECREF(names);
    Py_XDECREF(comments);

exit:
    if (result == NULL && !PyErr_Occurred())
        km_binding_raise(&err);
    Py_XDECREF(signal);
    Py_XDECREF(bytes);
    km_wfdb_free(&header);
    PyBuffer_Release(&text);
    return result;
}

PyDoc_STRVAR(wfdb_header_doc,
"wfdb_header(header, leads)\n--\n\n"
"What a WFDB header says, as a dict; rows: the indices of the signals that leads selects; files: (name, format,\n"
"samples a frame) of each signal.");

static PyObject *wfdb_header(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer text;
    selection chosen;
    if (!PyArg_ParseTuple(args, "y*O&:wfdb_header", &text, selection_convert, &chosen))
        return NULL;

    km_error err = {KM_OK, ""};
    km_wfdb header;
    PyObject *result = NULL, *comments = NULL, *segments = NULL, *rows = NULL, *files = NULL;
    if (km_wfdb_create(&header, text.buf, (size_t)text.len, &err) != KM_OK) {
        PyBuffer_Release(&text);
        return km_binding_raise(&err);
    }
    int row[KM_LEADS], count = 0;
    if (header.segments == 1 && select_rows(row, &count, &header, &chosen, &err) != KM_OK)
        goto exit;
    comments = decoded_list(header.comment, header.comment_count);
    segments = decoded_list(header.segment, header.segment_count);
    rows = PyList_New(count);
    files = PyList_New(0);
    if (comments == NULL || segments == NULL || rows == NULL || files == NULL)
        goto exit;
    for (int i = 0; header.segments == 1 && i < header.signal_count; i++) {
        const km_wfdb_signal *s = &header.signal[i];
        PyObject *name = PyUnicode_DecodeFSDefaultAndSize(s->file.start, (Py_ssize_t)s->file.length);
        PyObject *item = name == NULL ? NULL : Py_BuildValue("(Nii)", name, s->format, s->frame);
        const int failed = item == NULL || PyList_Append(files, item) < 0;
        Py_XDECREF(item);
        if (failed)
            goto exit;
    }
    for (int i = 0; i < count; i++) {
        const km_wfdb_signal *s = &header.signal[row[i]];
        double scale;
        if (km_wfdb_scale(&scale, s, &err) != KM_OK)
            goto exit;
        PyObject *item = Py_BuildValue("(isd)", row[i], km_leads_name(s->lead), scale);
        if (item == NULL)
            goto exit;
        PyList_SET_ITEM(rows, i, item);
    }
    result = Py_BuildValue("{s:d, s:L, s:i, s:O, s:O, s:O, s:O}", "fs", header.fs, "samples",
                           (long long)header.samples, "segments", header.segments, "comments", comments,
                           "segment_names", segments, "rows", rows, "files", files);

exit:
    if (result == NULL && !PyErr_Occurred())
        km_binding_raise(&err);
    Py_XDECREF(comments);
    Py_XDECREF(segments);
    Py_XDECREF(rows);
    Py_XDECREF(files);
    km_wfdb_free(&header);
    PyBuffer_Release(&text);
    return result;
}

PyDoc_STRVAR(resample_doc,
"resample(signal, fs_in, fs_out, threads=1)\n--\n\n"
"signal (leads, samples) float32 at fs_in Hz to (leads, round(samples * fs_out / fs_in)) at fs_out Hz.");

static PyObject *resample(PyObject *module, PyObject *args, PyObject *keywords)
{
    (void)module;
    static char *names[] = {"signal", "fs_in", "fs_out", "threads", NULL};
    PyObject *object;
    double fs_in, fs_out;
    int threads = 1;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "Odd|i:resample", names, &object, &fs_in, &fs_out, &threads))
        return NULL;
    PyArrayObject *signal = km_binding_array(object, "signal", NPY_FLOAT32, 2, NULL);
    if (signal == NULL)
        return NULL;
    km_error err = {KM_OK, ""};
    const int leads = (int)PyArray_DIM(signal, 0);
    const int64_t n = PyArray_DIM(signal, 1);
    int64_t length;
    if (km_preprocess_length(&length, n, fs_in, fs_out, &err) != KM_OK)
        return km_binding_raise(&err);
    const npy_intp shape[2] = {leads, length};
    PyObject *result = PyArray_SimpleNew(2, (npy_intp *)shape, NPY_FLOAT32);
    if (result == NULL)
        return NULL;
    float *out = PyArray_DATA((PyArrayObject *)result);
    const float *in = PyArray_DATA(signal);
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_preprocess_resample(out, in, leads, n, fs_in, fs_out, threads, &err);
    Py_END_ALLOW_THREADS
    if (status != KM_OK) {
        Py_DECREF(result);
        return km_binding_raise(&err);
    }
    return result;
}

PyDoc_STRVAR(pack_doc,
"pack(signal, ids)\n--\n\n"
"signal (leads, samples) float32 in mV at 500 Hz, ids int32 (leads): as a store keeps it,\n"
"(int16 (kept leads, samples), leads, dropped, missing, clipped).");

static PyObject *pack(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *signal_object, *ids_object;
    if (!PyArg_ParseTuple(args, "OO:pack", &signal_object, &ids_object))
        return NULL;
    PyArrayObject *signal = km_binding_array(signal_object, "signal", NPY_FLOAT32, 2, NULL);
    if (signal == NULL)
        return NULL;
    const npy_intp leads = PyArray_DIM(signal, 0), samples = PyArray_DIM(signal, 1);
    PyArrayObject *ids = km_binding_array(ids_object, "ids", NPY_INT32, 1, &leads);
    if (ids == NULL)
        return NULL;
    const int32_t *id = PyArray_DATA(ids);
    uint32_t seen = 0;
    for (npy_intp i = 0; i < leads; i++) {
        if (id[i] < 0 || id[i] >= KM_LEADS || (seen >> id[i] & 1) != 0)
            return PyErr_Format(PyExc_ValueError, "ids must be in 0 .. 11, none twice, got %d", (int)id[i]);
        seen |= UINT32_C(1) << id[i];
    }
    npy_intp shape[2] = {leads, samples};
    PyObject *out = PyArray_SimpleNew(2, shape, NPY_INT16);
    if (out == NULL)
        return NULL;
    km_error err = {KM_OK, ""};
    km_steps steps;
    km_status status;
    Py_BEGIN_ALLOW_THREADS
    status = km_steps_pack(&steps, PyArray_DATA((PyArrayObject *)out), PyArray_DATA(signal), samples, id, (int)leads,
                           samples, &err);
    Py_END_ALLOW_THREADS
    if (status != KM_OK) {
        Py_DECREF(out);
        return km_binding_raise(&err);
    }
    PyObject *kept = PySequence_GetSlice(out, 0, __builtin_popcount(steps.leads));
    Py_DECREF(out);
    return Py_BuildValue("(NIILL)", kept, steps.leads, steps.dropped, (long long)steps.missing,
                         (long long)steps.clipped);
}

PyDoc_STRVAR(wfdb_pack_doc,
"wfdb_pack(headers, seconds, verify, out)\n--\n\n"
"Recordings of format 16 as a store keeps them, into out (int16, 1-d), without the GIL: a list with, for each of\n"
"headers (bytes: paths), (comments, leads, dropped, samples, missing, clipped, start, count), or None where it is\n"
"not read here (read it another way: that also says why). The list ends where out is full, but has one item at\n"
"least. seconds: as much of the beginning, negative: all.");

/* One item of wfdb_pack's list. */
static PyObject *packed(const km_wfdb_file *file)
{
    if (!file->done)
        return Py_NewRef(Py_None);
    PyObject *comments = decoded_list(file->header.comment, file->header.comment_count);
    if (comments == NULL)
        return NULL;
    const km_steps *s = &file->steps;
    return Py_BuildValue("(NIILLLLL)", comments, s->leads, s->dropped, (long long)s->samples, (long long)s->missing,
                         (long long)s->clipped, (long long)file->start, (long long)file->count);
}

static PyObject *wfdb_pack(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *headers, *out_object, *result = NULL;
    double seconds;
    int verify;
    if (!PyArg_ParseTuple(args, "O!dpO:wfdb_pack", &PyList_Type, &headers, &seconds, &verify, &out_object))
        return NULL;
    PyArrayObject *out = km_binding_array(out_object, "out", NPY_INT16, 1, NULL);
    if (out == NULL)
        return NULL;
    if (!PyArray_ISWRITEABLE(out)) {
        PyErr_SetString(PyExc_ValueError, "out must be writable");
        return NULL;
    }
    headers = PyList_AsTuple(headers);      /* keeps the paths alive, whatever is done to the list */
    if (headers == NULL)
        return NULL;
    const Py_ssize_t count = PyTuple_GET_SIZE(headers);
    km_wfdb_file *files = count < INT32_MAX ? PyMem_Calloc((size_t)count + 1, sizeof *files) : NULL;
    if (files == NULL) {
        Py_DECREF(headers);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        char *path;
        if (PyBytes_AsStringAndSize(PyTuple_GET_ITEM(headers, i), &path, NULL) < 0)
            goto exit;
        files[i].path = path;
    }
    int done;
    Py_BEGIN_ALLOW_THREADS
    done = km_wfdb_file_pack(files, (int)count, PyArray_DATA(out), PyArray_DIM(out, 0), seconds, verify);
    Py_END_ALLOW_THREADS
    result = PyList_New(done);
    for (int i = 0; result != NULL && i < done; i++) {
        PyObject *item = packed(&files[i]);
        if (item == NULL)
            Py_CLEAR(result);
        else
            PyList_SET_ITEM(result, i, item);
    }

exit:
    for (Py_ssize_t i = 0; i < count; i++)
        km_wfdb_file_free(&files[i]);
    PyMem_Free(files);
    Py_DECREF(headers);
    return result;
}

static PyMethodDef methods[] = {
    {"lead_orders", lead_orders, METH_NOARGS, "{name of an order: the twelve lead names in it}."},
    {"lead_find", lead_find, METH_O, "The canonical id of a lead name, or -1."},
    {"wfdb_read", wfdb_read, METH_VARARGS, wfdb_read_doc},
    {"wfdb_header", wfdb_header, METH_VARARGS, wfdb_header_doc},
    {"pack", pack, METH_VARARGS, pack_doc},
    {"wfdb_pack", wfdb_pack, METH_VARARGS, wfdb_pack_doc},
    {"resample", (PyCFunction)(void (*)(void))resample, METH_VARARGS | METH_KEYWORDS, resample_doc},
    {NULL, NULL, 0, NULL},
};

int km_binding_record_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
