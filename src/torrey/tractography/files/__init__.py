"""Tractogram files: `.tck` (MRtrix), `.trk` (TrackVis, DIPY) and `.trx`, by the extension."""

from .tractogram import read_tractogram, write_tractogram

__all__ = ["read_tractogram", "write_tractogram"]
