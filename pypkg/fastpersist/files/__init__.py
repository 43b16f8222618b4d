"""Files: which one it is, and how what is not a plain file of the package's own layout is read.

The core reads a regular file of its own layout by itself; :func:`fastpersist.load` comes here for
all others, for file objects, for dumps in two files, and to check without loading. What bytes of
a graph mean is the core's business, how a stream is compressed that of
:mod:`fastpersist.codecs`; of the functions of the API nothing here knows.
"""

# Storeys, from the ground; tools/check_imports.py holds every import to them.
#     __init__                   nothing but this map
#     streams, urls, warn        file objects; URLs by fsspec; warnings
#     kinds                      which file it is
#     pairs                      dumps in two files
#     arrays                     one array of a file, with nothing of it run
#     checking                   a file checked without loading it
#     loading                    one load
