"""Gradient sequences and their files. Times in ms, gradients in mT/m, b-values in s/mm²."""

from .acquisition import Acquisition as Acquisition
from .camino import read_scheme as read_scheme
from .camino import write_scheme as write_scheme
from .directions import electrostatic_directions as electrostatic_directions
from .encodings import axisymmetric_encoding as axisymmetric_encoding
from .encodings import pulse_train as pulse_train
from .files import read_acquisition as read_acquisition
from .files import write_acquisition as write_acquisition
from .free_waveform import FreeWaveform as FreeWaveform
from .fsl import read_fsl as read_fsl
from .fsl import write_fsl as write_fsl
from .pulseq import read_pulseq as read_pulseq
from .remidi import remidi_protocol as remidi_protocol
from .shell import Shell as Shell
from .shell import shells as shells
from .tsv import SignalTable as SignalTable
from .tsv import read_tsv as read_tsv
from .tsv import write_tsv as write_tsv
from .waveforms import AbstractPulses as AbstractPulses
from .waveforms import AbstractWaveform as AbstractWaveform
from .waveforms import CosineOgse as CosineOgse
from .waveforms import DoublePgse as DoublePgse
from .waveforms import Pgse as Pgse
from .waveforms import SineOgse as SineOgse
from .waveforms import Trapezoid as Trapezoid
