"""Other backtesters on the same work. Each module is a script of its own, run by an interpreter
that has them and nothing of ours: `python -m bench.peers.NAME FILE.npz T|B`, prints one JSON line.
"""
