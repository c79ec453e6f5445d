"""Gradient sequences and their files. Times in ms, gradients in mT/m, b-values in s/mm²."""

from .acquisition import Acquisition as Acquisition
