"""Workflows that KFP's own compiler made, with their driver pods turned into plugin calls.

Pure functions over data; the command line and the admission webhook are two doors to them.
"""
