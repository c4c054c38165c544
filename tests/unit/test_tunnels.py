"""Reading a proxy's address: what is wrong with one is told without its password."""

import traceback

import pytest

from services.gateway.tunnels import Proxy, read_proxy

PASSWORD = "proxy-password"


def test_a_proxys_user_and_password_are_what_it_is_told():
    assert read_proxy("http://me:a%2Fb@proxy:3128") == Proxy("proxy", 3128, b"Basic bWU6YS9i")
    assert read_proxy("proxy") == Proxy("proxy", 80, None)


@pytest.mark.parametrize(
    "url",
    [
        f"socks5://me:{PASSWORD}@proxy:1",
        f"http://me:{PASSWORD}@proxy:port",
        f"http://me:{PASSWORD}/more@proxy:1",
        f"http://me:{PASSWORD}#more@proxy:1",
        f"http://[me:{PASSWORD}@proxy:1",
        f"http://me:{PASSWORD}@:1",
    ],
)
def test_a_wrong_address_of_a_proxy_is_refused_without_its_password(url):
    with pytest.raises(ValueError, match="a proxy must be http://host:port") as refused:
        read_proxy(url)
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))
