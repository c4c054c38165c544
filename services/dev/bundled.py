"""Where the files that `grantgate up` brings along are."""

from pathlib import Path

_HERE = Path(__file__).parent

NATS_CONF = _HERE / "nats.conf"
"""nats-server's configuration, which docker-compose.yml mounts too."""

EXAMPLE_CONFIG = _HERE / "config.example.yaml"
"""The example configuration: in a checkout a link to the one at its root, so there is only one."""
