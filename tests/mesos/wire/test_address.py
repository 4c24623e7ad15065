"""What a user writes for a master, and where masters redirect to."""

from __future__ import annotations

import pytest

from owmesos.errors import InvalidInput
from owmesos.mesos.wire.address import (
    Credentials,
    Masters,
    ServerAddress,
    ZooKeeperMasters,
    parse_master,
    redirect_target,
    shown,
)


def masters(text: str) -> tuple[str, ...]:
    found = parse_master(text, credentials_allowed=False)
    assert isinstance(found, Masters)
    return tuple(str(address) for address in found.addresses)


class TestMasters:
    def test_one_host(self) -> None:
        assert masters("10.0.0.1:5050") == ("http://10.0.0.1:5050",)

    def test_several_hosts(self) -> None:
        assert masters("a:1,b:2") == ("http://a:1", "http://b:2")

    def test_https_holds_for_all_of_them(self) -> None:
        assert masters("https://a:1,b:2/") == ("https://a:1", "https://b:2")

    def test_a_port_may_be_left_out(self) -> None:
        assert masters("master.mesos") == ("http://master.mesos:5050",)

    def test_ipv6(self) -> None:
        assert masters("[::1]:5050") == ("http://[::1]:5050",)

    def test_with_tls_a_bare_host_is_https(self) -> None:
        found = parse_master("a:1", credentials_allowed=False, tls=True)
        assert found == Masters((ServerAddress("https", "a", 1),))

    def test_zookeeper(self) -> None:
        found = parse_master("zk://a:2181,b:2182/mesos/x/", credentials_allowed=False)
        assert found == ZooKeeperMasters("a:2181,b:2182", "/mesos/x", "http")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            ":5050",
            "a:",
            "a:0",
            "a:65536",
            "a:5050x",
            "a b:1",
            "a:1,",
            "a:1,,b:2",
            "http://a:1/path",
            "ftp://a:1",
            "zk://a:2181",
            "zk://a:2181/",
            "zk:///mesos",
            "http://",
            "::1",
            "a\n:1",
        ],
    )
    def test_a_malformed_one_is_refused_in_one_line(self, text: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            parse_master(text, credentials_allowed=True)
        assert "\n" not in str(caught.value)


class TestCredentials:
    def test_zookeeper_takes_them(self) -> None:
        found = parse_master("zk://me:p%40ss@a:2181/mesos", credentials_allowed=True)
        assert found.credentials == Credentials("me", "p@ss")

    def test_a_master_takes_them(self) -> None:
        found = parse_master("https://me:secret@a:1,b:2", credentials_allowed=True)
        assert found == Masters(
            (ServerAddress("https", "a", 1), ServerAddress("https", "b", 2)), Credentials("me", "secret")
        )

    def test_a_scheme_before_each_is_rejected_with_how_it_is_written(self) -> None:
        with pytest.raises(InvalidInput, match="write the scheme once, before the first"):
            parse_master("https://a:1,https://b:2", credentials_allowed=False)

    @pytest.mark.parametrize("text", ["zk://me:secret@a:2181/mesos", "me:secret@a:1", "https://me:secret@a:1"])
    def test_they_are_refused_where_others_could_read_them(self, text: str) -> None:
        with pytest.raises(InvalidInput, match="OWMESOS_MASTER") as caught:
            parse_master(text, credentials_allowed=False)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("text", ["zk://me:secret@a:2181", "me:secret@a:x", "ftp://me:secret@a", "me:secret@b@:x"])
    def test_no_error_repeats_a_password(self, text: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            parse_master(text, credentials_allowed=True)
        assert "secret" not in str(caught.value)

    def test_a_password_does_not_show(self) -> None:
        assert "secret" not in repr(Credentials("me", "secret"))
        assert shown("zk://me:secret@a:1/mesos") == "zk://…@a:1/mesos"


class TestRedirections:
    base = ServerAddress("http", "a", 5050)

    @pytest.mark.parametrize(
        "location",
        ["//b:5051/api/v1/scheduler", "http://b:5051/api/v1/scheduler", "//b:5051", "b:5051"],
    )
    def test_the_leader_is_named_with_or_without_a_scheme(self, location: str) -> None:
        assert redirect_target(location, self.base) == ServerAddress("http", "b", 5051)

    def test_tls_is_kept(self) -> None:
        assert redirect_target("//b:1/x", ServerAddress("https", "a", 1)).scheme == "https"

    def test_a_redirection_out_of_tls_is_not_followed(self) -> None:
        with pytest.raises(InvalidInput, match="from https to http"):
            redirect_target("http://b:1/x", ServerAddress("https", "a", 1))

    @pytest.mark.parametrize("location", ["", "/api/v1", "ftp://b:1/", "http://b:99999/", "//[b/"])
    def test_a_senseless_one_is_an_error(self, location: str) -> None:
        with pytest.raises(InvalidInput, match="is not a master"):
            redirect_target(location, self.base)
