"""One module per kind of system template: drivers, executors, importers, and what their pods share.

The functions are pure: options and names in, one template as data out.
"""
