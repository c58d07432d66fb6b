"""The edge of both servers: proto to value, error to status, and the handlers.

Reading order: `messages`, `statuses`, `speech`, `voices`, `residency`, `health`. Handlers record facts and move data;
they decide nothing.
"""
