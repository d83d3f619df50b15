"""What a request costs, compared with similar packages, in one run: `make bench`.

Everything in this process is measured by `benchmarks.measure`: in turns, in CPU time of one thread,
by medians of ratios. Servers, imports and Node have processes of their own, and take turns, too.
Peers come from `requirements/bench.txt`, are used as their documentation shows, and each must let a
good token in and keep a bad one out before it is measured.
"""
