"""What people would pick instead, doing the same no-op work on the same servers: ``python -m bench.peers``.

Each peer is one module here with a class that keeps :class:`bench.peers.peer.Peer`, set up as its own documentation
says, with one worker process. It is measured by ``python -m bench.peers.measure`` in the environment of its own that
``bench/requirements.txt`` makes (``bench/.venv``), so nothing of jobrunner's is imported there but ``bench.stamps``.
"""
