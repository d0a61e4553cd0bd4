"""Where rows come from: one module a source type, all behind the protocol in `protocol.py`."""
