/* Probabilities from logits and embeddings, windows averaged. */
#include "python/binding.h"

#include "eval/answer.h"

static PyObject *sigmoid(PyObject *module, PyObject *logits)
{
    npy_intp any[2] = {-1, -1};
    (void)module;
    PyArrayObject *z = km_binding_array(logits, "logits", KM_NPY_REAL, 2, any);
    PyObject *p = z != NULL ? km_binding_zeros(2, PyArray_DIMS(z), KM_NPY_REAL) : NULL;
    if (p != NULL)
        km_answer_sigmoid(PyArray_DATA((PyArrayObject *)p), PyArray_DATA(z), (size_t)PyArray_SIZE(z));
    return p;
}

static PyObject *cosine(PyObject *module, PyObject *args)
{
    PyObject *ecg_argument, *text_argument;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO:cosine_probability", &ecg_argument, &text_argument))
        return NULL;
    npy_intp any[2] = {-1, -1};
    PyArrayObject *ecg = km_binding_array(ecg_argument, "ecg", KM_NPY_REAL, 2, any);
    if (ecg == NULL)
        return NULL;
    npy_intp like[2] = {-1, PyArray_DIM(ecg, 1)};
    PyArrayObject *text = km_binding_array(text_argument, "text", KM_NPY_REAL, 2, like);
    if (text == NULL)
        return NULL;
    npy_intp shape[2] = {PyArray_DIM(ecg, 0), PyArray_DIM(text, 0)};
    PyObject *p = km_binding_zeros(2, shape, KM_NPY_REAL);
    if (p != NULL)
        km_answer_cosine(PyArray_DATA((PyArrayObject *)p), PyArray_DATA(ecg), PyArray_DATA(text), (int)shape[0],
                         (int)shape[1], (int)like[1]);
    return p;
}

static PyObject *average(PyObject *module, PyObject *args)
{
    PyObject *x_argument, *owner_argument, *segments_argument;
    int count;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOi:average_windows", &x_argument, &owner_argument, &segments_argument, &count))
        return NULL;
    npy_intp any[2] = {-1, -1};
    PyArrayObject *x = km_binding_array(x_argument, "x", KM_NPY_REAL, 2, any);
    if (x == NULL)
        return NULL;
    npy_intp rows[1] = {PyArray_DIM(x, 0)};
    PyArrayObject *owner = km_binding_array(owner_argument, "owner", NPY_INT64, 1, rows);
    PyArrayObject *segments =
        owner != NULL ? km_binding_array(segments_argument, "segments", NPY_INT32, 1, rows) : NULL;
    if (segments == NULL)
        return NULL;
    for (npy_intp i = 0; i < rows[0]; i++)
        if (((const int32_t *)PyArray_DATA(segments))[i] < 1) {
            PyErr_SetString(PyExc_ValueError, "segments must be at least 1");
            return NULL;
        }
    const int64_t *ids = PyArray_DATA(owner);
    int64_t next = 0;
    for (npy_intp i = 0; i < rows[0]; i++) {
        if (ids[i] == next)
            next++;
        else if (next == 0 || ids[i] != next - 1)
            break;
    }
    if (next != count || rows[0] < count || (rows[0] > 0 && ids[rows[0] - 1] != count - 1)) {
        PyErr_Format(PyExc_ValueError, "owner must run from 0 to %d without gaps", count - 1);
        return NULL;
    }
    npy_intp shape[2] = {count, PyArray_DIM(x, 1)};
    PyObject *out = km_binding_zeros(2, shape, KM_NPY_REAL);
    if (out != NULL)
        km_answer_average(PyArray_DATA((PyArrayObject *)out), PyArray_DATA(x), ids, PyArray_DATA(segments),
                          (int)rows[0], count, (int)shape[1]);
    return out;
}

static PyObject *nearest(PyObject *module, PyObject *args)
{
    PyObject *x_argument, *y_argument;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO:nearest", &x_argument, &y_argument))
        return NULL;
    npy_intp any[2] = {-1, -1};
    PyArrayObject *x = km_binding_array(x_argument, "x", KM_NPY_REAL, 2, any);
    if (x == NULL)
        return NULL;
    npy_intp like[2] = {-1, PyArray_DIM(x, 1)}, n = PyArray_DIM(x, 0);
    PyArrayObject *y = km_binding_array(y_argument, "y", KM_NPY_REAL, 2, like);
    if (y == NULL)
        return NULL;
    if (PyArray_DIM(y, 0) < 1) {
        PyErr_SetString(PyExc_ValueError, "y has no rows, expected at least 1");
        return NULL;
    }
    PyObject *cosine = km_binding_zeros(1, &n, NPY_FLOAT64), *which = km_binding_zeros(1, &n, NPY_INT64);
    PyObject *result = NULL;
    if (cosine != NULL && which != NULL) {
        km_answer_nearest(PyArray_DATA((PyArrayObject *)cosine), PyArray_DATA((PyArrayObject *)which), PyArray_DATA(x),
                          PyArray_DATA(y), (int)n, (int)PyArray_DIM(y, 0), (int)like[1]);
        result = PyTuple_Pack(2, cosine, which);
    }
    Py_XDECREF(cosine);
    Py_XDECREF(which);
    return result;
}

static PyMethodDef methods[] = {
    {"sigmoid", sigmoid, METH_O, "1 / (1 + exp(-logits)), (n, Q)."},
    {"cosine_probability", cosine, METH_VARARGS, "(1 + cos) / 2 of unit rows ecg (n, J) and text (Q, J): (n, Q)."},
    {"average_windows", average, METH_VARARGS,
     "Mean of the rows of x (n, C), weighted by segments (n), by owner (n), 0 .. count - 1 ascending."},
    {"nearest", nearest, METH_VARARGS, "The most similar row of y (m, D) to each row of x (n, D): cosine, number."},
    {NULL, NULL, 0, NULL},
};

int km_binding_answer_add(PyObject *module)
{
    return PyModule_AddFunctions(module, methods);
}
