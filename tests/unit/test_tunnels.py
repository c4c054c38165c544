"""Reading a proxy's address: what is wrong with one is told without its password."""

import traceback

import pytest

from services.gateway.tunnels import Proxy, read_proxy
from shared.reading import ConfigError, Place

PLACE = Place("environment", "HTTPS_PROXY")
PASSWORD = "proxy-password"


def test_a_proxys_user_and_password_are_what_it_is_told():
    read = read_proxy("http://me:a%2Fb@proxy:3128", PLACE)
    assert read == Proxy("proxy", 3128, b"Basic bWU6YS9i")
    assert read_proxy("proxy", PLACE) == Proxy("proxy", 80, None)


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
    with pytest.raises(ConfigError, match="HTTPS_PROXY: must be http://host:port") as refused:
        read_proxy(url, PLACE)
    assert PASSWORD not in "".join(traceback.format_exception(refused.value))
