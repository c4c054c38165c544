"""What an upstream made at run time may lead to: nothing of ours that was not named."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.addresses import Reach, is_public, same_client

PRIVATE = [
    "0.0.0.0",  # noqa: S104 - judged, not bound to
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a00:1",
    "::ffff:0:127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2606:4700:4700::1111",
    "2a00:1450:4001:81b::200e",
    "2001:4860:4860::8888",
]
ODD = ["127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "127.0.0.1.", "1.2.3.0x"]


@pytest.mark.parametrize("address", PRIVATE)
def test_row_70_what_is_not_of_the_internet_is_not_public(address):
    assert not is_public(address)
    assert not Reach().permits("up.example", address)
    assert Reach().refuses(address)
    assert Reach(True).permits("up.example", address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_of_the_internet_is_public(address):
    assert is_public(address)
    assert Reach().permits("up.example", address)
    assert not Reach().refuses(address)


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_is_public_here_that_is_not_global_to_python(address):
    assert not is_public(str(address)) or address.is_global


@given(st.ip_addresses(v=4))
def test_a_wrapping_makes_no_address_better(address):
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_public(wrapped) == is_public(str(address))
    assert not is_public(f"::{address}")
    sixtofour = int(ipaddress.IPv6Address("2002::")) | int(address) << 80
    assert not is_public(str(ipaddress.IPv6Address(sixtofour)))


@pytest.mark.parametrize("host", [*ODD, "localhost", "LOCALHOST.", "a.localhost", "127.0.0.1"])
def test_row_70_a_host_that_is_an_address_in_disguise_is_refused_as_it_is_written(host):
    assert Reach().refuses(host)
    assert not Reach(True).refuses(host)


@pytest.mark.parametrize("host", ["up.example", "gpt4.internal", "1.example", "a-1.b2", "x"])
def test_a_name_is_for_whoever_connects_to_judge(host):
    assert not Reach().refuses(host)
    assert not Reach().permits(host, "10.0.0.1")


def test_networks_and_names_open_what_they_name_and_no_more():
    reach = Reach(["10.1.0.0/16", "::1", "192.168.0.7", "vLLM.internal."])
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "::1", "192.168.0.7"):
        assert reach.permits("x", address)
        assert not reach.refuses(address)
    for address in ("10.2.0.1", "127.0.0.1", "192.168.0.8", "fe80::1"):
        assert not reach.permits("x", address)
    assert reach.permits("VLLM.internal", "172.16.0.1")
    assert not reach.permits("a.vllm.internal", "172.16.0.1")
    assert not reach.refuses("localhost")


@pytest.mark.parametrize("entry", ["", "10.0.0.1/8", "10.0.0.0/33", "300.1.1.1", "a b", "*.x", "-"])
def test_what_is_neither_a_network_nor_a_name_is_refused(entry):
    with pytest.raises(ValueError, match=r"network|host bits"):
        Reach([entry])


def test_a_host_of_ipv6_counts_as_one_client_however_many_addresses_it_takes():
    assert same_client("2a00:1:2:3::4") == same_client("2a00:1:2:3:ffff::9")
    assert same_client("2a00:1:2:3::4") != same_client("2a00:1:2:4::4")
    assert same_client("::ffff:1.2.3.4") == same_client("1.2.3.4") != same_client("1.2.3.5")
    assert same_client("") == ""
