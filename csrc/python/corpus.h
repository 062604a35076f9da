/* _kmerl.Corpus for other bindings. */
#ifndef KM_BINDING_CORPUS_H
#define KM_BINDING_CORPUS_H

#include "python/binding.h"

#include "data/corpus.h"

/* The corpus behind a _kmerl.Corpus, which must outlive its use; NULL with TypeError set for anything else. */
const km_corpus *km_binding_corpus_get(PyObject *module, PyObject *object);

#endif
