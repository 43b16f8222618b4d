"""What is in a file, for people and programs: what :func:`fastpersist.inspect` gives.

A survey of the core says what is in a dump; here it becomes dataclasses, text, JSON and HTML.
Nothing that a file names is imported or called, and every name of a file is cut and escaped.
"""

# Storeys, from the ground; tools/check_imports.py holds every import to them.
#     __init__                   nothing but this map
#     words, squarify, progress, kept  names and sizes as they are shown; rectangles of a tree map
#     records                    the parts of a report
#     facts                      what a survey found, as records
#     lists                      the largest of each kind
#     equal                      equal payloads that are stored twice
#     tree                       bytes by object path
#     versions                   packages then and now
#     changes                    what differs between two reports
#     text, drawing              for terminals; tree maps as SVG
#     page                       one HTML page
#     file_report                FileReport
#     looking                    which file it is, and its surveys
