"""Finite elements on tetrahedra: element matrices, Laplace modes and their derivatives. Always float64."""
