"""Other packages' hooks, filled with fastpersist: each module is imported by its user only.

An extra of the same name installs what a module needs; without it the import fails and says so.
"""

# Storeys, from the ground; tools/check_imports.py holds every import to them.
#     __init__       nothing but this map
#     dask           a serialization family of distributed
#     mlflow         a flavour of models
