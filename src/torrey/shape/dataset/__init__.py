"""Data sets of shapes on disk: shards that are whole or absent, and a manifest that says what they hold."""

from .dataset import Dataset as Dataset
from .dataset import open_dataset as open_dataset
from .make import make_dataset as make_dataset
from .manifest import Manifest as Manifest
