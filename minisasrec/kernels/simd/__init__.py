"""Instructions that Python has no words for: vectors, the register tile, and atomic counters.

`internals.py` lists what they take from inside Numba. A kernel imports `vector`, `tile` and
`atomic`.
"""
