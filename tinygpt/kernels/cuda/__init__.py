"""Fast twins for CuPy, on a CUDA card."""
