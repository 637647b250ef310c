"""What every bench needs: children that always end, what the kernel says of a process, and the report.

Python's standard library only, so that a bench runs wherever Torus is built.
"""
