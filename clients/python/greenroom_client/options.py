"""How a client behaves, whatever it asks for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata

import grpc

from greenroom_client.conversation import ReadLimits
from greenroom_client.retries import RetryPolicy

CLIENT_KEY = "x-greenroom-client"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """Bounds and credentials of a client. Without credentials the connection is plain text."""

    connect_timeout_seconds: float = 5.0
    answer_timeout_seconds: float = 10.0
    """For unary calls and for the opening of a session, all attempts together."""
    first_audio_timeout_seconds: float = 60.0
    """For the first answer to a whole text, all attempts together: it may have to wait for its turn."""
    detect_timeout_seconds: float = 120.0
    """For an upload and the detector's answer."""
    create_voice_timeout_seconds: float = 120.0
    """For an upload and the voice that is made of it."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    read_limits: ReadLimits = field(default_factory=ReadLimits)
    credentials: grpc.ChannelCredentials | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Sent with every call, such as `authorization` or `x-request-id`."""
    client_name: str = ""
    """For whom the service counts sessions; without it, for this machine's address."""

    @property
    def metadata_pairs(self) -> tuple[tuple[str, str], ...]:
        """The metadata as gRPC takes it."""
        named = {CLIENT_KEY: self.client_name} if self.client_name else {}
        return tuple((key.lower(), value) for key, value in {**named, **self.metadata}.items())


DEFAULT_OPTIONS = ClientOptions()


def client_version() -> str:
    """Return the version of this package."""
    return metadata.version("greenroom")
