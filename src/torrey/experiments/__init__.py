"""Experiments of many independent fits: recipes, tasks, the store of their results, tables and figures."""
