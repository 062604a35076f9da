"""kmerl: zero-shot answers about ECGs, from any leads."""

from kmerl import datasets, evaluate, metrics
from kmerl.ablation import Ablation, ablate
from kmerl.ablation_table import list_tables
from kmerl.agreement import Comparison, compare_extractors
from kmerl.batch import Batch, sample_batch
from kmerl.build import build_info
from kmerl.classes import class_names
from kmerl.config import Config
from kmerl.extraction import Finding, Reading, Statement, extract
from kmerl.llm import LLMExtractor
from kmerl.model import KMERL, load_model
from kmerl.phrases import Phrases
from kmerl.plot import plot_ecg
from kmerl.prevalence import plot_cooccurrence
from kmerl.record import Record, read_record
from kmerl.sample import sample_dataset, sample_path, sample_records
from kmerl.shipped import list_models
from kmerl.simulator import Simulator, simulate
from kmerl.store import Store
from kmerl.text import TextEmbeddings, TextEncoder, sample_embeddings
from kmerl.vocabulary import Entity, Vocabulary
from kmerl.vocabulary_review import apply_review, review_vocabulary

__version__ = "0.1.0"
