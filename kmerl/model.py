"""KMERL: the model as a scikit-learn style estimator; loading; answers."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os

import numpy as np

from . import _kmerl, shipped
from .batch import Batch, _natural, sample_windows
from .checkpoint import Checkpoint, folded
from .config import PRESETS, Config
from .leads import LEADS
from .record import iter_records

__all__ = ["KMERL", "Answer", "load_model"]

_REAL = np.dtype(_kmerl.build_info()["real"])
_CHUNK = 64  # windows answered between two looks at Ctrl-C
_FIELDS = {field.name: field for field in dataclasses.fields(Config)}


@dataclasses.dataclass
class Answer:
    """Probabilities with what was done to the recordings (``details=True``).

    Attributes
    ----------
    probabilities : ndarray (classes,) or (n, classes)
    classes : list of str
        As asked.
    recordings : list of dict
        One a recording: ``name``, ``windows`` (how many were averaged), ``leads`` (used in any window), ``dropped``
        (leads found flat or too incomplete in some window), ``repaired`` (samples interpolated).
    """

    probabilities: np.ndarray
    classes: list[str]
    recordings: list[dict]


class KMERL:
    """Knowledge-enhanced ECG-report model for arbitrary leads (K-MERL).

    The constructor only stores; see :class:`kmerl.config.Config` for every parameter, its meaning and default.

    Parameters
    ----------
    preset : {None, "paper", "merl-vit", "merl-resnet"}
        A named set of choices; parameters given beside it win. ``paper``: SPEC 7; ``merl-...``: the baselines, SPEC 10.
    **parameters
        Fields of :class:`kmerl.config.Config`, such as ``size``, ``epochs``, ``seed``.

    Attributes
    ----------
    config_ : Config
        After `initialize`, `fit` or loading: the checked configuration, with the text width.
    vocabulary_ : Vocabulary or None
        The entities it was trained on.
    history_ : list of dict
        After `fit`: the lines of ``log.jsonl``.
    nonfinite_steps_ : int
        Steps of its training without an update, because a loss or gradient was not finite (`fit`).

    Examples
    --------
    >>> model = kmerl.KMERL(size="tiny", epochs=5, batch_size=16)
    >>> model.fit(store, out="run").predict_proba("A0001", ["atrial fibrillation"])     # doctest: +SKIP
    """

    def __init__(self, preset=None, **parameters):
        _check_preset(preset)
        unknown = [name for name in parameters if name not in _FIELDS]
        if unknown:
            raise TypeError(_unknown_parameter(unknown[0]))
        self.preset = preset
        values = {**PRESETS.get(preset, {}), **parameters}
        for name, field in _FIELDS.items():
            setattr(self, name, values.get(name, field.default))
        self._reset()

    def _reset(self):
        self._core = None
        self._names = None
        self._rows = {}
        self._encoder_id = None
        self._encoder = None
        self._training = {}
        self._classes = {}
        for name in ("config_", "vocabulary_", "history_"):
            self.__dict__.pop(name, None)

    # ---- scikit-learn's grammar --------------------------------------------------------------------------------

    def get_params(self, deep=True):
        """{name: value} of every constructor parameter. `deep` is there for scikit-learn and changes nothing."""
        return {"preset": self.preset, **{name: getattr(self, name) for name in _FIELDS}}

    def set_params(self, **parameters):
        """Changes constructor parameters; a trained model stays as it is until `fit` or `initialize`. Another preset
        takes back what the old one set and brings its own choices.

        Raises
        ------
        ValueError
            For a name that is no parameter.
        """
        for name in parameters:
            if name not in _FIELDS and name != "preset":
                raise ValueError(_unknown_parameter(name))
        if "preset" in parameters:
            _check_preset(parameters["preset"])
            before, after = PRESETS.get(self.preset, {}), PRESETS.get(parameters["preset"], {})
            for name, value in before.items():
                if getattr(self, name) == value:
                    setattr(self, name, _FIELDS[name].default)
            parameters = {**after, **parameters}
        for name, value in parameters.items():
            setattr(self, name, value)
        return self

    def __repr__(self):
        changed = {name: getattr(self, name) for name, field in _FIELDS.items()
                   if getattr(self, name) != field.default}
        arguments = [f"preset={self.preset!r}"] if self.preset else []
        return f"KMERL({', '.join(arguments + [f'{name}={value!r}' for name, value in changed.items()])})"

    def __getstate__(self):
        """What copying and sending to another process take along: everything but what can be made again."""
        return {"parameters": self.get_params(), "history": self.__dict__.get("history_"),
                "checkpoint": None if self._core is None else self._checkpoint(), "encoder": self._encoder}

    def __setstate__(self, state):
        self.__init__(**state["parameters"])
        if state["checkpoint"] is not None:
            self._restore(state["checkpoint"])
        if state["history"] is not None:
            self.history_ = state["history"]
        self._encoder = state["encoder"]

    # ---- parameters --------------------------------------------------------------------------------------------

    def initialize(self, text_dim, queries=None):
        """Parameters from the seed, before or without `fit` (SPEC 2, 3: truncated N(0, 0.02), embeddings N(0, 0.02)).

        Parameters
        ----------
        text_dim : int
            Width of the text embeddings, such as 384 for MiniLM.
        queries : ndarray (n, text_dim), optional
            Embeddings of the names that will be taught: ``query_init="centred"`` needs them, nothing else reads them.

        Returns
        -------
        KMERL
            self
        """
        config = self._configuration(text_dim)
        centred = config.query_init == "centred"
        if centred != (queries is not None):
            raise ValueError(f"query_init={config.query_init!r}: initialize takes queries, the embeddings of the names "
                             f"that will be taught, for 'centred' and not otherwise, got {type(queries).__name__}")
        core = _kmerl.Model(config.to_core())
        if centred:
            core.centre_queries(np.ascontiguousarray(queries, dtype=_REAL))
        self._reset()
        self.config_ = config
        self._core = core
        self.vocabulary_ = None
        return self

    def untrained(self, seed):
        """The same network as it is before training: this model's configuration and the names it knows, with the
        initial parameters of a seed. What a result is compared with.

        Parameters
        ----------
        seed : int

        Returns
        -------
        KMERL
        """
        self._ready()
        model = KMERL(**{**_parameters(self.config_), "seed": seed})
        model._begin(self.config_.text_width, self.vocabulary_, self._names)
        model._know(self.vocabulary_, self._names, self._encoder_id)
        model._encoder = self._encoder
        return model

    def _begin(self, text_dim, vocabulary, names):
        """`initialize` for training on the names of a vocabulary."""
        queries = None
        if self.query_init == "centred" and names is not None:      # without names initialize says what it lacks
            queries = names.query[[names.texts.index(name) for name in vocabulary]]
        self.initialize(text_dim, queries)

    def _configuration(self, text_dim):
        """The checked configuration with its text width."""
        config = Config(**{name: getattr(self, name) for name in _FIELDS})
        if isinstance(text_dim, bool) or not isinstance(text_dim, (int, np.integer)) or text_dim < 1:
            raise ValueError(f"text_dim must be a whole number from 1, got {text_dim!r}")
        if config.text_width not in (None, text_dim):
            raise ValueError(f"text_dim={text_dim} contradicts text_width={config.text_width}")
        return dataclasses.replace(config, text_width=int(text_dim))

    def _ready(self):
        if self._core is None:
            raise RuntimeError("this model has no parameters yet: call fit or initialize, or use kmerl.load_model")
        return self._core

    def parameters(self):
        """{name: copy} of what is trained, float32; names and shapes are listed in docs/checkpoint.md.

        Weights are ``(out, in)``, W of Eq. 2 ``(width, segment_samples)``. See `statistics` for what is not trained.
        """
        return self._ready().parameters()

    def statistics(self):
        """{name: copy} of the running statistics of batch normalisation; empty without any."""
        return self._ready().statistics()

    def set_parameters(self, parameters):
        """Replaces all parameters.

        Parameters
        ----------
        parameters : mapping of str to array_like
            The full set of `parameters`.

        Returns
        -------
        KMERL
            self

        Raises
        ------
        ValueError
            Listing what is missing, unexpected, misshapen or not finite; nothing is changed then.
        """
        core, (shapes, _) = self._ready(), _kmerl.layout(self.config_.to_core())
        core.set_parameters(_checked(parameters, "parameters", shapes))
        self._forget_classes()
        return self

    def set_statistics(self, statistics):
        """Replaces all running statistics; as `set_parameters`. Variances below 0 are errors too."""
        core, (_, shapes) = self._ready(), _kmerl.layout(self.config_.to_core())
        core.set_statistics(_checked(statistics, "statistics", shapes))
        self._forget_classes()
        return self

    def _forget_classes(self):
        self._classes = {}      # a new one: what other threads still prepare lands in the old

    def forward(self, batch):
        """Evaluation mode: running statistics, no dropout, nothing masked but what the batch leaves out.

        Parameters
        ----------
        batch : kmerl.Batch

        Returns
        -------
        Output
            ``logits`` (B, Q) for the batch's entities, ``ecg`` (B, 256) and ``text`` (B, 256) projected and
            L2-normalised, ``features`` (B, width). What the batch has no texts for, or the model no query network,
            is None.
        """
        core = self._ready()
        arrays = _arrays(batch)
        asked = self.config_.query_weight > 0 and arrays.get("entities") is not None
        classes = core.classes(arrays["entities"]) if asked else None
        out = core.evaluate(arrays, classes, embeddings=True, threads=self._threads())
        return Output(out.get("logits"), out["ecg"], out.get("text"), out["features"])

    def loss_and_gradients(self, batch, step=0):
        """A training step without its update: batch statistics, dropout if configured. Changes nothing in the model.

        Parameters
        ----------
        batch : kmerl.Batch
        step : int
            Dropout masks are a function of seed, step and recording (``batch.recording``, which `sample_batch` fills,
            else its place in the batch).

        Returns
        -------
        losses : dict
            ``contrast`` (Eq. 4, SPEC 5), ``unimodal`` (SPEC 10), ``query`` (SPEC 6), ``total`` (their weighted sum).
        gradients : dict of str to ndarray
            Of ``total``, by parameter name.
        """
        losses, gradients = self._ready().loss_and_gradients(_arrays(batch), step=_natural(step, "step", 32),
                                                             threads=self._threads())
        del losses["duplicates"]        # of interest to a run's log
        return losses, gradients

    def _threads(self):
        return self.config_.threads or _kmerl.build_info()["threads"]

    # ---- training ----------------------------------------------------------------------------------------------

    def fit(self, store, out=None, *, max_steps=None, nonfinite="stop", progress=True):
        """Pretrains on a store or a simulator (Sec. 2, App. B) from the seed, or goes on where a run in `out` stopped.

        As in scikit-learn, whatever the model had learned before is forgotten: `fit` on a loaded model starts anew.

        Parameters
        ----------
        store : kmerl.Store or kmerl.Simulator
            A store that was labelled and embedded; or a simulator, whose ECGs are new in every epoch.
        out : path-like, optional
            Folder for ``config.json``, ``log.jsonl``, ``last.safetensors``, ``best.safetensors`` (docs/training.md).
            Created if its parent exists. Without it nothing is written and nothing can be resumed.
        max_steps : int, optional
            Stop after so many steps in all; the schedule is that of the whole run, and a later call goes on.
        nonfinite : {"stop", "skip"}
            What a NaN or an infinity in a loss or a gradient does: ends the run with an error that names the step, the
            tensor and the recordings, before the model is changed; or passes over that step's batch, which is warned of
            at the end and counted in `nonfinite_steps_` and the log. A run that was stopped may go on with ``"skip"``.
        progress : bool
            A progress bar on standard error.

        Returns
        -------
        KMERL
            self, with the last step's parameters. ``best.safetensors`` holds those of the lowest validation loss.

        Raises
        ------
        ValueError
            If `out` holds a run of another configuration or store: the message names the fields.
        RuntimeError
            If the store has no labels or embeddings yet, or, with ``nonfinite="stop"``, a loss or
            gradient stops being finite.
        KeyboardInterrupt
            After Ctrl-C, once the step is done and kept in `out`; the same call goes on.
        """
        from .training import fit

        fit(self, store, out, max_steps=max_steps, nonfinite=nonfinite, progress=progress)
        return self

    @property
    def nonfinite_steps_(self):
        return self._training.get("nonfinite", 0)

    # ---- files -------------------------------------------------------------------------------------------------

    def save(self, path, dtype="float32"):
        """Writes a checkpoint: parameters, configuration, vocabulary, names with embeddings (docs/checkpoint.md).

        Parameters
        ----------
        path : path-like
        dtype : {"float32", "float16"}
            Of the numbers in the file: float16 rounds each to the nearest, ties to even, and takes half the space.
            Loading gives float32 either way.

        Raises
        ------
        ValueError
            If `dtype` is none of these, or a number is beyond float16's 65,504.
        RuntimeError
            If there is nothing to save yet.
        FileNotFoundError
            If the folder does not exist; none is created.
        """
        self._ready()
        self._checkpoint().write(path, dtype)

    def _checkpoint(self, training=None, moments=None):
        from . import build_info

        info = build_info()
        return Checkpoint(
            config=self.config_,
            parameters=self._core.parameters(),
            statistics=self._core.statistics(),
            names=self._names,
            vocabulary=self.vocabulary_.to_json() if self.vocabulary_ is not None else None,
            text_encoder=self._encoder_id,
            training=self._training if training is None else training,
            moments=moments,
            library=f"kmerl {info['version']} ({info['blas']} {info['isa']})",
        )

    @classmethod
    def _of(cls, checkpoint):
        model = cls(**_parameters(checkpoint.config))
        model._restore(checkpoint)
        return model

    def _restore(self, checkpoint):
        self._reset()
        self.config_ = checkpoint.config
        self._core = _kmerl.Model(self.config_.to_core())
        self._adopt(checkpoint)
        vocabulary = None
        if checkpoint.vocabulary is not None:
            from .vocabulary import Vocabulary

            vocabulary = Vocabulary.from_json(checkpoint.vocabulary)
        self._know(vocabulary, checkpoint.names, checkpoint.text_encoder)
        self._training = checkpoint.training

    def _adopt(self, checkpoint):
        """Takes over a checkpoint's numbers; its configuration is the model's own."""
        self.set_parameters(checkpoint.parameters)
        self.set_statistics(checkpoint.statistics)

    def _know(self, vocabulary, names, encoder_id):
        """The texts that are answered without a text encoder."""
        self.vocabulary_ = vocabulary
        self._names = names
        self._encoder_id = encoder_id
        self._rows = {}
        for row, text in enumerate(names.texts if names is not None else ()):
            self._rows.setdefault(folded(text), row)

    # ---- answers -----------------------------------------------------------------------------------------------

    @property
    def text_encoder(self):
        """The TextEncoder for class names that the checkpoint does not know, or None."""
        return self._encoder

    @text_encoder.setter
    def text_encoder(self, encoder):
        if encoder is not None:
            for attribute in ("embed", "id", "width"):
                if not hasattr(encoder, attribute):
                    raise TypeError(f"text_encoder must be a kmerl.TextEncoder, got {type(encoder).__name__}")
            if self._encoder_id is not None and encoder.id != self._encoder_id:
                raise ValueError(f"text_encoder is {encoder.id}, but this model was trained with {self._encoder_id}: "
                                 "its embeddings mean something else")
            if self._core is not None and encoder.width != self.config_.text_width:
                raise ValueError(f"text_encoder gives embeddings {encoder.width} wide, this model takes "
                                 f"{self.config_.text_width}")
        self._encoder = encoder

    def predict_proba(self, x, classes, leads=None, fs=None, *, details=False, windows="all", method=None,
                      prompts=None, lead_pooling=None):
        """Probability of each class, zero-shot, from whatever leads there are (Sec. 2.5, App. D.3).

        Parameters
        ----------
        x : path, Record, array (leads, samples) or (n, leads, samples), or a list of Records or paths
            Any leads in any order, any rate from 1 to 100,000 Hz, any length from one segment (0.2 s).
        classes : str or list of str
            What to ask. Vocabulary names and synonyms (both answered as their entity) and the class names of the
            public data sets are known to a checkpoint; other texts need `text_encoder`.
        leads : list of str, optional
            Names of an array's rows; for records: which leads to use.
        fs : float, optional
            Sampling rate of arrays in Hz.
        details : bool
            Return an :class:`Answer` that also says what was dropped or repaired.
        windows : {"all", "first"}
            Recordings longer than 10 s: the mean over consecutive windows, weighted by their lengths, or the first one.
        method : {None, "query", "cosine", "both"}
            The query network, the cosine in contrast space as ``(1 + cos) / 2``, or their mean. None: the query
            network where the model was trained with it, else the cosine.
        prompts : dict of str to str, optional
            For the cosine: ``{class: text}``, the text that stands for each class in place of its name (such as
            MERL's CKEPE prompts); texts that are not known need `text_encoder`.
        lead_pooling : {None, "joint", "mean"}
            Of the query network: one answer from the tokens of all leads; or each lead is asked alone, normalised as if
            the recording had no other, and the logits are averaged over the leads of a window. None: as the model's
            configuration says. The cosine is always that of all leads together: "mean" is refused with
            ``method="cosine"``.

        Returns
        -------
        ndarray float32 (classes,) or (n, classes), or Answer
            In [0, 1]. One recording gives (classes,). An answer does not depend on the other recordings asked, to the
            last bit; it depends on the other classes unless the model was trained with ``isolate_queries``.

        Raises
        ------
        ValueError, TypeError, FileNotFoundError
            Naming what came and what was expected.
        RuntimeError
            If the model was neither trained nor loaded.
        """
        core = self._ready()
        method = self._method(method)
        apart = self._apart(lead_pooling, method)
        classes = [classes] if isinstance(classes, str) else classes
        texts = _class_list(classes)
        records, count, single = iter_records(x, leads, fs)
        asked = self._class_set(texts, "query") if method != "cosine" else None
        described = texts if prompts is None else _prompt_list(prompts, texts, method)
        text = self._class_set(described, "contrast") if method != "query" else None
        probabilities = np.empty((count, len(texts)), np.float32)
        about = []
        for part in self._parts(records, windows, apart):
            first = len(about)
            logits = None
            if apart:
                logits, owner, info, rows = self._logits_apart(part, windows, asked[0])
            if not apart or text:
                batch, owner, info, rows = self._windows(part, windows)
                out = core.evaluate(batch, asked[0] if asked and not apart else None, embeddings=text is not None,
                                    threads=self._threads())
                logits = out.get("logits", logits)
            answers = []
            if asked:
                answers.append(_kmerl.sigmoid(logits)[:, asked[1]])
            if text:
                answers.append(_kmerl.cosine_probability(out["ecg"], text[0])[:, text[1]])
            p = answers[0] if len(answers) == 1 else (answers[0] + answers[1]) / 2
            probabilities[first:first + len(part)] = _kmerl.average_windows(np.ascontiguousarray(p), owner,
                                                                            rows["segments"], len(part))
            _check_numbers(probabilities[first:first + len(part)], first)
            about += info
        result = probabilities[0] if single else probabilities
        return Answer(result, texts, about) if details else result

    def encode(self, x, leads=None, fs=None, *, windows="all"):
        """Features: the mean of the encoder's normed tokens, of all leads together whatever `lead_pooling` is (SPEC 3);
        with ``final_norm="mean"`` the normed mean of the tokens, with ResNet-18 the average over time of its last map
        (SPEC 10).

        Parameters
        ----------
        x, leads, fs, windows
            As for `predict_proba`.

        Returns
        -------
        ndarray float32 (width,) or (n, width)
        """
        core = self._ready()
        records, count, single = iter_records(x, leads, fs)
        features = np.empty((count, self.config_.width), np.float32)
        first = 0
        for part in self._parts(records, windows):
            batch, owner, _, rows = self._windows(part, windows)
            out = core.evaluate(batch, threads=self._threads())
            features[first:first + len(part)] = _kmerl.average_windows(out["features"], owner, rows["segments"],
                                                                       len(part))
            _check_numbers(features[first:first + len(part)], first)
            first += len(part)
        return features[0] if single else features

    def attend(self, x, classes, leads=None, fs=None, *, lead_pooling=None):
        """Where the query network looks: the last layer's cross-attention, averaged over heads (SPEC 6).

        Parameters
        ----------
        x, leads, fs
            As for `predict_proba`.
        classes : str or list of str
        lead_pooling : {None, "joint", "mean"}
            As for `predict_proba`. With "mean" each lead shows the attention when asked alone, divided by their number.

        Returns
        -------
        ndarray float32
            (leads, segments) for one recording and one class given as text, summing to 1; a list of classes adds
            an axis in front; several recordings give a list. Rows are the recording's leads in its own order,
            columns segments of 0.2 s from its start; what was not looked at (an absent lead) is 0.
        """
        core = self._ready()
        if self.config_.query_weight == 0:
            raise ValueError("this model was trained with query_weight=0: it has no query network to attend with")
        if self.config_.tokenisation != "lead":
            raise ValueError("attend needs tokenisation='lead': this model's tokens hold all leads at once")
        apart = self._apart(lead_pooling, "query")
        texts = _class_list([classes] if isinstance(classes, str) else classes)
        records, _, single = iter_records(x, leads, fs)
        asked, expand = self._class_set(texts, "query")
        maps = []
        for record in records:
            batch, _, _, rows = self._windows([record], "all", apart)
            out = core.evaluate(batch, asked, attention=True, threads=self._threads())["attention"].ravel()
            offset, Q = batch["offset"], 1 + max(expand)
            start = rows["start"] // self.config_.segment_samples
            share = rows["segments"] / rows["segments"].sum()
            attention = np.zeros((len(texts), len(record.leads), int((start + rows["segments"]).max())), np.float32)
            place = {LEADS.index(name): i for i, name in enumerate(record.leads)}
            for w in range(len(start)):
                tokens = slice(offset[w], offset[w + 1])
                weights = out[Q * offset[w]:Q * offset[w + 1]].reshape(Q, -1)[expand]
                row = [place[lead] for lead in batch["lead"][tokens]]
                attention[:, row, start[w] + batch["segment"][tokens]] = weights * share[w]
            maps.append(attention[0] if isinstance(classes, str) else attention)
        return maps[0] if single else maps

    def _method(self, method):
        if method is None:
            return "query" if self.config_.query_weight > 0 else "cosine"
        if method not in ("query", "cosine", "both"):
            raise ValueError(f"method must be None, 'query', 'cosine' or 'both', got {method!r}")
        if method != "cosine" and self.config_.query_weight == 0:
            raise ValueError(f"method={method!r}: this model was trained with query_weight=0 and has no query "
                             "probabilities; use method='cosine'")
        if method != "query" and self.config_.contrast_weight == 0:
            raise ValueError(f"method={method!r}: this model was trained with contrast_weight=0 and has no contrast "
                             "space; use method='query'")
        return method

    def _class_set(self, texts, side):
        """Prepared classes (or projected texts) of the distinct embeddings, and each text's place among them."""
        known, key = self._classes, (side, tuple(texts))
        found = known.get(key)
        if found is None:
            embeddings, expand = self._embed(texts, side)
            core = self._core
            found = core.classes(embeddings) if side == "query" else core.project_text(embeddings), expand
            if len(known) >= 16:
                known.pop(list(known)[0], None)
            known[key] = found
        return found

    def _embed(self, texts, side):
        """Distinct embeddings (m, text_width) of texts, and the row of each text."""
        canonical = []
        for text in texts:
            # A synonym is answered as its entity: training knew the entity by its canonical name.
            known = self.vocabulary_ is not None and text in self.vocabulary_
            canonical.append(folded(self.vocabulary_[text].name if known else text))
        unknown = list(dict.fromkeys(t for t, name in zip(texts, canonical, strict=True) if name not in self._rows))
        if unknown and self._encoder is None:
            raise ValueError(self._unknown_classes(unknown))
        pooling = self.config_.query_pooling if side == "query" else self.config_.report_pooling
        embedded = self._encoder.embed(unknown, pooling) if unknown else []
        made = dict(zip((folded(t) for t in unknown), embedded, strict=True))
        distinct = list(dict.fromkeys(canonical))
        table = (self._names.query if side == "query" else self._names.contrast) if self._names is not None else None
        rows = [made[name] if name in made else table[self._rows[name]] for name in distinct]
        place = {name: i for i, name in enumerate(distinct)}
        return np.ascontiguousarray(rows, dtype=_REAL), [place[name] for name in canonical]

    def _unknown_classes(self, unknown):
        known = self._names.answered(self.vocabulary_) if self._names is not None else []
        near = difflib.get_close_matches(unknown[0].lower(), known, n=3, cutoff=0.6)
        return (
            f"classes: this model does not know {', '.join(map(repr, unknown[:5]))}"
            + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            + (f" (near: {', '.join(map(repr, near))})" if near else "")
            + f". It answers {len(known)} names without a text encoder; for others set "
            "model.text_encoder = kmerl.TextEncoder.load(folder) with the encoder it was trained with"
            + (f" ({self._encoder_id})" if self._encoder_id else "")
        )

    def _apart(self, lead_pooling, method):
        """Whether the query network is asked about each lead alone."""
        if lead_pooling not in (None, "joint", "mean"):
            raise ValueError(f"lead_pooling must be None, 'joint' or 'mean', got {lead_pooling!r}")
        if lead_pooling == "mean" and self.config_.query_weight == 0:
            raise ValueError("lead_pooling='mean' is about the query network, which this model was trained without "
                             "(query_weight=0)")
        if lead_pooling == "mean" and method == "cosine":
            raise ValueError("lead_pooling='mean' is about the query network, method='cosine' always about all leads "
                             "together: use method='query' or 'both'")
        return method != "cosine" and (lead_pooling or self.config_.lead_pooling) == "mean"

    def _logits_apart(self, records, windows, asked):
        """Mean over each window's leads, asked alone, of their logits, and the rest as `_windows` for the windows."""
        batch, owner, info, rows = self._windows(records, windows, apart=True)
        logits = self._core.evaluate(batch, asked, threads=self._threads())["logits"]
        begins = np.concatenate([[True], (np.diff(owner) != 0) | (np.diff(rows["start"]) != 0)])
        window = np.cumsum(begins, dtype=np.int64) - 1
        pooled = _kmerl.average_windows(logits, window, rows["segments"], int(window[-1]) + 1)
        return pooled, owner[begins], info, {name: array[begins] for name, array in rows.items()}

    def _parts(self, records, windows, apart=False):
        """Lists of records that together have about _CHUNK windows, or as many leads of windows where these are asked
        apart: what is answered at once."""
        part, total = [], 0
        for record in records:
            part.append(record)
            count = 1 if windows == "first" else 1 + int(record.seconds / self.config_.seconds)
            total += count * (len(record.leads) if apart else 1)
            if total >= _CHUNK:
                yield part
                part, total = [], 0
        if part:
            yield part

    def _windows(self, records, windows, apart=False):
        """Packed windows of records, or their leads apart: batch arrays, the record each row belongs to, and what was
        done."""
        if windows not in ("all", "first"):
            raise ValueError(f"windows must be 'all' or 'first', got {windows!r}")
        batch, rows = sample_windows(records, self.config_, windows == "first", self._threads(), apart)
        owner = rows["recording"].astype(np.int64)
        info = []
        for i, record in enumerate(records):
            mine = owner == i
            info.append({
                "name": record.name,
                "windows": len(np.unique(rows["start"][mine])),
                "leads": _lead_names(rows["visible"][mine]),
                "dropped": _lead_names(rows["dropped"][mine]),
                "repaired": int(rows["repaired"][mine].sum()),
            })
        return batch.arrays(), owner, info, rows


KMERL.__init__.__signature__ = inspect.Signature(
    [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
     inspect.Parameter("preset", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)]
    + [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
       for name, field in _FIELDS.items()]
)


def _check_numbers(rows, first):
    """RuntimeError where what is computed is no number, which weights beyond float32's products give."""
    good = np.isfinite(rows).all(axis=1)
    if not good.all():
        raise RuntimeError(f"the answer about recording {first + int(np.argmin(good))} is not finite: the model's "
                           "weights are too large for float32, or damaged")


@dataclasses.dataclass
class Output:
    """What `KMERL.forward` returns."""

    logits: np.ndarray | None
    ecg: np.ndarray
    text: np.ndarray | None
    features: np.ndarray


def load_model(name, *, precision=None):
    """A model from a checkpoint file, or one that comes with the package.

    Parameters
    ----------
    name : path-like or str
        A path, or a name from :func:`kmerl.list_models`, such as "kmerl-tiny". A file of that very name comes first.
    precision : {"float32", "bf16"}, optional
        Of the matrix products from now on (:class:`Config`); None: as it was trained.

    Returns
    -------
    KMERL

    Raises
    ------
    FileNotFoundError
        If there is no such file or name; the names that there are stand in the message.
    ValueError
        If the file is no checkpoint, damaged, or does not hold exactly its configuration's tensors.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise TypeError(f"name must be a path or one of kmerl.list_models(), got {type(name).__name__}")
    path = os.fspath(name)
    if not os.path.isfile(path) and path in shipped.list_models():
        path = shipped.whole_file(path)
    elif not os.path.exists(path):
        raise FileNotFoundError(shipped.unknown_model(path))
    checkpoint = Checkpoint.read(path)
    try:
        if precision is not None:
            config = dataclasses.replace(checkpoint.config, precision=precision)
            checkpoint = dataclasses.replace(checkpoint, config=config)
        return KMERL._of(checkpoint)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parameters(config):
    """The constructor's parameters of a checked configuration."""
    values = {name: getattr(config, name) for name in _FIELDS}
    if config.size != "custom":     # what follows from the size is not asked for again
        values.update(dict.fromkeys(("width", "depth", "heads", "mlp_width")))
    if config.lead_embedding == (config.tokenisation == "lead"):
        values["lead_embedding"] = None
    return values


def _arrays(batch):
    """A Batch as the core takes it."""
    if not isinstance(batch, Batch):
        raise TypeError(f"batch must be a kmerl.Batch (kmerl.sample_batch makes one), got {type(batch).__name__}")
    return batch.arrays()


def _check_preset(preset):
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset must be None or one of {', '.join(map(repr, PRESETS))}, got {preset!r}")


def _unknown_parameter(name):
    near = difflib.get_close_matches(name, _FIELDS, n=1)
    return f"KMERL has no parameter {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _checked(given, argument, wanted):
    """The arrays of `given`, of the `wanted` shapes, or a ValueError with all that is wrong."""
    if not hasattr(given, "keys"):
        raise TypeError(f"{argument} must be a mapping of names to arrays, got {type(given).__name__}")
    problems = [f"missing {name} {shape}" for name, shape in wanted.items() if name not in given]
    problems += [f"unexpected {name}" for name in given if name not in wanted]
    arrays = {}
    for name in wanted.keys() & set(given):
        array = np.asarray(given[name])
        if array.dtype.kind not in "fiu":
            problems.append(f"{name} must be real numbers, got dtype {array.dtype}")
            continue
        array = arrays[name] = np.ascontiguousarray(array, dtype=_REAL)
        if array.shape != wanted[name]:
            problems.append(f"{name} has shape {array.shape}, expected {wanted[name]}")
        elif not np.isfinite(array).all():
            problems.append(f"{name} holds values that are not finite")
        elif name.endswith(".running_var") and (array < 0).any():
            problems.append(f"{name} holds negative variances")
    if problems:
        raise ValueError(f"{argument} are not the model's: " + "; ".join(problems[:20])
                         + (f"; and {len(problems) - 20} more" if len(problems) > 20 else ""))
    return arrays


def _class_list(classes):
    if isinstance(classes, (bytes, dict, set, frozenset)) or not hasattr(classes, "__iter__"):
        raise TypeError(f"classes must be a text or a list of texts, in an order, got {type(classes).__name__}")
    classes = list(classes)
    if not classes:
        raise ValueError("classes is empty: expected at least one class name")
    for i, text in enumerate(classes):
        if not isinstance(text, str):
            raise TypeError(f"classes[{i}] must be a text, got {type(text).__name__}")
        if not text.strip():
            raise ValueError(f"classes[{i}] is an empty text")
    return classes


def _prompt_list(prompts, texts, method):
    """The text of each class."""
    if not hasattr(prompts, "keys"):
        raise TypeError(f"prompts must be a mapping of classes to texts, got {type(prompts).__name__}")
    if method == "query":
        raise ValueError("prompts stand for classes in the cosine: they need method='cosine' or 'both'")
    missing = [text for text in texts if text not in prompts]
    if missing:
        raise ValueError(f"prompts has no text for {', '.join(map(repr, missing[:5]))}"
                         + (f" and {len(missing) - 5} more" if len(missing) > 5 else ""))
    found = [prompts[text] for text in texts]
    for text, prompt in zip(texts, found, strict=True):
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(f"prompts[{text!r}] is {prompt!r:.80}, expected a text")
    return found


def _lead_names(sets):
    """Names of the leads in any of the sets (bit i is canonical lead i)."""
    together = int(np.bitwise_or.reduce(sets)) if len(sets) else 0
    return [name for i, name in enumerate(LEADS) if together >> i & 1]

