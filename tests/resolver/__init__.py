"""Tests of the resolver.

A test that is called as a row of the matrix in spec RESOLVER 16 shows that row. A docstring that begins with
D and a number names the defect of KFP's own driver that the test keeps out (docs/kfp-driver-defects.md).
"""
