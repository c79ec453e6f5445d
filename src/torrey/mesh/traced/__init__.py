"""Neurons traced as trees, and tetrahedra in them."""
