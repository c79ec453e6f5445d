"""The experiments of the ReMiDi paper and what their results are held against."""
