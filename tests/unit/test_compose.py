"""docker-compose.yml and the Dockerfile: what confines each container, as it is written there."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.parts import BIN, PASSWORDS

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = ("keys", "policy", "gateway", "demo")
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "pid", "network_mode", "ipc", "devices"}
    assert not any("docker.sock" in str(volume) for volume in service.get("volumes", ()))


@pytest.mark.parametrize("name", OURS)
def test_our_containers_need_no_shell_and_write_nowhere(name):
    service = SERVICES[name]
    assert service["healthcheck"]["test"][:2] == ["CMD", "python"]
    assert isinstance(service.get("entrypoint", []), list)
    assert isinstance(service.get("command", []), list)
    assert all(volume.endswith(":ro") for volume in service["volumes"])


@pytest.mark.parametrize("name", OURS)
def test_the_configuration_is_mounted_as_a_folder(name):
    """A mounted file stays what it was when another is renamed over it."""
    (mounted,) = re.findall(r":-(.+?)\}:(\S+):ro", SERVICES[name]["volumes"][0])
    folder = ROOT / mounted[0]
    assert folder.is_dir()
    named = re.search(r"GRANTGATE_CONFIG=(\S+)", DOCKERFILE)[1]
    assert (folder / Path(named).relative_to(mounted[1])).is_file()
    assert {path.name for path in folder.iterdir()} == {"config.yaml"}


def test_one_port_is_open_and_each_service_is_on_its_own_networks_alone():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["balancer"]
    on = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert on == {
        "mongo": {"database"},
        "nats": {"bus"},
        "keys": {"bus", "database", "management"},
        "policy": {"bus"},
        "gateway": {"bus", "management", "public"},
        "balancer": {"public"},
        "demo": {"public"},
    }
    inner = {name for name, options in COMPOSE["networks"].items() if options.get("internal")}
    assert inner == {"bus", "database", "management"}


def test_no_service_is_told_a_secret_that_it_does_not_use():
    told = {name: " ".join(map(str, SERVICES[name]["environment"].values())) for name in OURS[:3]}
    assert set(re.findall(r"GRANTGATE_(\w+)", told["policy"])) == {"NATS_POLICY_PASSWORD"}
    assert "MONGO" not in told["gateway"]
    assert "MASTER_KEY" not in told["policy"]


def test_the_image_is_nobodys_from_a_base_that_can_be_pinned_and_runs_nothing_to_start():
    final = DOCKERFILE.rpartition("FROM ")[2]
    assert DOCKERFILE.count("FROM ${BASE}") == DOCKERFILE.count("FROM ") == 2
    assert re.search(r"^USER (\d+):\d+$", final, re.MULTILINE)[1] != "0"
    assert 'ENTRYPOINT ["grantgate"]' in final
    assert not re.search(r"^(RUN|CMD [^\[]|SHELL)", final, re.MULTILINE)
    base = re.search(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)[1]
    for name in OURS:
        assert SERVICES[name]["build"]["args"]["BASE"] == f"${{GRANTGATE_BASE_IMAGE:-{base}}}"


def test_the_monitoring_of_nats_is_for_its_own_container_alone():
    nats = SERVICES["nats"]
    assert not any("http_port" in word or word == "-m" for word in nats["command"])
    conf = ROOT / "services/dev/nats.compose.conf"
    assert f"./services/dev/{conf.name}:/etc/nats/{conf.name}:ro" in nats["volumes"]
    assert 'http: "127.0.0.1:8222"' in conf.read_text()
    command = [str(BIN / "nats-server"), "-t", "-c", str(conf)]
    subprocess.run(command, env=PASSWORDS, check=True, capture_output=True)
