"""Ways to start the ranks of a job, one file each; nothing above knows which one it has.

Empty on purpose: the supervisor and the ranks import this package and need none of the rest.
"""
