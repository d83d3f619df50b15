"""Are the stores linearizable? Threads of several processes, and a search for an order.

`program` says what the threads do, `worker` is a process of them, `history` leads the processes and
judges what they have seen; `checker` searches for an order of the operations in which `model`, one
step after another, gives the same answers. `broken` has stores that must be found out.
"""
