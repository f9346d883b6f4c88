"""What the benchmarks of the connection share: a load that keeps books, processes to look at, and ways to kill them.

`record` says what must be in the store, `calls` what the client saw, `load` makes the calls, `processes` finds who is
there, `killer` kills. Nothing here is a part of the product.
"""
