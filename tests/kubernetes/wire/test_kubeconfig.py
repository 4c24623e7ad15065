"""A kubeconfig is read as kubectl reads it, and what we do not do is rejected by name."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from owmesos.errors import InvalidInput
from owmesos.kubernetes.wire.access import ClientCertificate, ClusterAccess, Credential, CredentialsUnavailable
from owmesos.kubernetes.wire.exec_plugin import ExecCredentials
from owmesos.kubernetes.wire.kubeconfig import find_access, kubeconfig_files
from tests.fakes.pki import Pki

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A kubeconfig with one context, of these parts in YAML's flow style."""

    def write(
        user: str = "{token: s3cret}",
        cluster: str = "{server: 'https://10.0.0.1:6443'}",
        context: str = "{cluster: c, user: u, namespace: functions}",
        name: str = "config",
    ) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"apiVersion: v1\nkind: Config\ncurrent-context: here\npreferences: {{}}\n"
            f"contexts: [{{name: here, context: {context}}}]\n"
            f"clusters: [{{name: c, cluster: {cluster}}}]\n"
            f"users: [{{name: u, user: {user}}}]\n"
        )
        return file

    return write


def read(file: Path, context: str | None = None) -> ClusterAccess:
    return find_access(file, context, {})


def token_of(access: ClusterAccess) -> str | None:
    credential = access.credentials.current()
    assert credential is not None
    return credential.token


# -- which file, which context


def test_the_current_context_is_taken(write: Write) -> None:
    access = read(write())
    assert (access.server, access.namespace, token_of(access)) == ("https://10.0.0.1:6443", "functions", "s3cret")


def test_a_context_without_a_namespace_means_default(write: Write) -> None:
    assert read(write(context="{cluster: c, user: u}")).namespace == "default"


def test_a_context_may_be_named(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(
        "contexts: [{name: a, context: {cluster: a}}, {name: b, context: {cluster: b}}]\n"
        "clusters: [{name: a, cluster: {server: 'https://a'}}, {name: b, cluster: {server: 'https://b/k8s/'}}]\n"
    )
    assert read(file, "b").server == "https://b/k8s"
    with pytest.raises(InvalidInput, match=r"names no current-context: give a context, one of a, b"):
        read(file)
    with pytest.raises(InvalidInput, match=r"there is no context 'z' in .*: give one of a, b"):
        read(file, "z")


@pytest.mark.parametrize(
    ("environment", "files"),
    [
        ({"KUBECONFIG": "/a:/b", "HOME": "/root"}, ("/a", "/b")),
        ({"KUBECONFIG": ":/a::", "HOME": "/root"}, ("/a",)),
        ({"KUBECONFIG": "", "HOME": "/root"}, ("/root/.kube/config",)),
        ({"HOME": "/home/me"}, ("/home/me/.kube/config",)),
    ],
)
def test_files_are_looked_for_as_kubectl_does(environment: dict[str, str], files: tuple[str, ...]) -> None:
    assert kubeconfig_files(None, environment) == tuple(Path(file) for file in files)
    assert kubeconfig_files(Path("/given"), environment) == (Path("/given"),)


def test_of_several_files_the_first_that_has_a_name_counts(write: Write, tmp_path: Path) -> None:
    first, second = write(user="{token: first}", name="a/config"), write(user="{token: second}", name="b/config")
    (tmp_path / "more").write_text(
        "current-context: other\n"
        "contexts: [{name: other, context: {cluster: c, user: v}}]\n"
        "users: [{name: v, user: {token: more}}]\n"
    )
    several = f"{tmp_path / 'missing'}:{first}:{second}:{tmp_path / 'more'}"
    assert token_of(find_access(None, None, {"KUBECONFIG": several})) == "first"
    assert token_of(find_access(None, "other", {"KUBECONFIG": several})) == "more"


def test_without_any_file_it_is_said_where_was_looked(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=rf"no kubeconfig: {tmp_path}/.kube/config does not exist, and this is not"):
        find_access(None, None, {"HOME": str(tmp_path)})
    with pytest.raises(InvalidInput, match="no kubeconfig: /none does not exist"):
        find_access(Path("/none"), None, {})


def test_files_are_relative_to_the_folder_of_the_kubeconfig(write: Write, tmp_path: Path) -> None:
    file = write(user="{tokenFile: secrets/token}", name="k/config")
    (tmp_path / "k" / "secrets").mkdir()
    (tmp_path / "k" / "secrets" / "token").write_text("from-a-file\n")
    assert token_of(read(file)) == "from-a-file"


# -- what cannot be used


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", r"config is not valid YAML \(line \d\)"),
        ("- 1", r"is not valid: Expected `object`, got `array`"),
        ("clusters: {}", r"is not valid: Expected `array \| null`, got `object` - at `\$\.clusters`"),
        ("\x00", "is not valid YAML"),
        ("", "there is no context in .*config: give a kubeconfig with one, by --kubeconfig or KUBECONFIG"),
        ("current-context: x", "there is no context 'x', and no other, in .*config: give a kubeconfig with one"),
        ("contexts: [{name: a}]", "names no current-context: give a context, one of a"),
        ("{current-context: a, contexts: [{name: a}]}", "it names no cluster: add it, there is no cluster at all"),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_rejected(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        read(file)


def test_no_error_quotes_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("users: [{name: u, user: {token: hunter2}}\n")
    with pytest.raises(InvalidInput, match="not valid YAML") as error:
        read(file)
    assert "hunter2" not in str(error.value)
    assert "hunter2" not in repr(Credential("hunter2"))


@pytest.mark.parametrize(
    ("part", "text", "words"),
    [
        ("cluster", "{server: 'https://h', insecure-skip-tls-verify: true}", "TLS is always verified: give the"),
        ("cluster", "{server: 'http://10.0.0.1:8080'}", "is not encrypted: give an https:// address"),
        ("cluster", "{server: 'h:6443'}", "'h:6443' is not an address such as https://host:6443"),
        ("cluster", "{server: 'https://h:0x1'}", "is not an address such as"),
        ("cluster", "{server: 'https://me:pw@h'}", "holds a password"),
        ("cluster", "{}", "'' is not an address such as"),
        ("cluster", "{server: 17}", r"cluster c of .* is not valid: Expected `str \| null`, got `int`"),
        (
            "cluster",
            "{server: 'https://h', certificate-authority: none.pem}",
            "authority .*none.pem cannot be read: No",
        ),
        ("cluster", "{server: 'https://h', certificate-authority-data: '*'}", "is not valid base64"),
        ("cluster", "{server: 'https://h', proxy-url: 'socks5://p'}", "proxy-url 'socks5://p' is not supported"),
        ("user", "{username: me, password: pw}", "basic authentication .* is not supported: give a token"),
        ("user", "{auth-provider: {name: gcp}}", "auth-provider is not supported, Kubernetes 1.26 removed it"),
        ("user", "{token: t, as: somebody}", "impersonation .* is not supported"),
        ("user", "{client-certificate-data: YQ==}", "a client certificate needs its key"),
        ("user", "{exec: {command: x, apiVersion: client.authentication.k8s.io/v1alpha1}}", "v1alpha1' is not client"),
        ("user", "{exec: {command: x}}", "apiVersion None is not client"),
        (
            "user",
            "{exec: {command: x, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always}}",
            "needs a terminal",
        ),
        ("user", "{token: 'two words'}", "characters that a token cannot have"),
        ("context", "{cluster: other, user: u}", "there is no cluster 'other': name one of c"),
        ("context", "{cluster: c, user: other}", "there is no user 'other': name one of u"),
    ],
)
def test_what_is_not_supported_is_said(write: Write, part: str, text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read(write(**{part: text}))


def test_plain_http_is_for_a_proxy_on_this_machine_only(write: Write) -> None:
    assert read(write(cluster="{server: 'http://127.0.0.1:8001'}")).server == "http://127.0.0.1:8001"


# -- credentials


def test_a_token_file_comes_before_a_token(write: Write, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("newer")
    assert token_of(read(write(user="{token: older, tokenFile: token}"))) == "newer"


def test_a_token_file_that_is_missing_says_so(write: Write) -> None:
    with pytest.raises(CredentialsUnavailable, match=r"token file .*/token cannot be read: No such file"):
        read(write(user="{tokenFile: token}")).credentials.current()


def test_a_client_certificate_comes_from_files_or_data(write: Write, pki: Pki) -> None:
    data = [base64.b64encode(file.read_bytes()).decode() for file in (pki.cert, pki.key)]
    from_files = read(write(user=f"{{client-certificate: {pki.cert}, client-key: {pki.key}}}"))
    from_data = read(write(user=f"{{client-certificate-data: {data[0]}, client-key-data: {data[1]}}}"))
    for access in (from_files, from_data):
        credential = access.credentials.current()
        assert credential is not None
        assert credential.certificate == ClientCertificate(pki.cert.read_bytes(), pki.key.read_bytes())
        access.ssl_context(credential.certificate)


def test_an_authority_comes_from_a_file_or_data(write: Write, pki: Pki) -> None:
    data = base64.b64encode(pki.ca.read_bytes()).decode()
    for cluster in (f"certificate-authority: {pki.ca}", f"certificate-authority-data: {data}"):
        access = read(write(cluster=f"{{server: 'https://h', {cluster}}}"))
        assert len(access.ssl_context(None).get_ca_certs()) == 1


def test_an_authority_that_is_no_certificate_is_named(write: Write) -> None:
    access = read(write(cluster="{server: 'https://h', certificate-authority-data: aGVsbG8=}"))
    with pytest.raises(InvalidInput, match=r"context here of .*: the certificate authority is not valid PEM"):
        access.ssl_context(None)


def test_a_key_that_is_not_the_certificates_is_named(write: Write, pki: Pki) -> None:
    certificate = ClientCertificate(pki.cert.read_bytes(), b"nonsense")
    with pytest.raises(InvalidInput, match="the client certificate or its key cannot be used"):
        read(write()).ssl_context(certificate)


def test_an_exec_plugin_is_found_beside_the_kubeconfig(write: Write, tmp_path: Path) -> None:
    plugin = tmp_path / "bin" / "login"
    plugin.parent.mkdir()
    plugin.write_text(
        "#!/bin/sh\n"
        'echo "{\\"apiVersion\\": \\"client.authentication.k8s.io/v1\\", \\"kind\\": \\"ExecCredential\\",'
        ' \\"status\\": {\\"token\\": \\"$1-$WHO\\"}}"\n'
    )
    plugin.chmod(0o700)
    access = read(
        write(
            user="{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./bin/login, args: [a],"
            " env: [{name: WHO, value: me}], interactiveMode: Never}}"
        )
    )
    assert isinstance(access.credentials, ExecCredentials)
    assert access.credentials.renew().token == "a-me"


def test_a_context_without_a_user_has_no_credentials(write: Write) -> None:
    assert token_of(read(write(context="{cluster: c}"))) is None


# -- the way to the server


def test_a_proxy_is_the_contexts_or_the_environments(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://everywhere:3128")
    monkeypatch.setenv("NO_PROXY", "10.0.0.1,.internal")
    named = "{server: 'https://10.0.0.1', proxy-url: 'http://ours:3128'}"
    assert read(write(cluster=named)).proxy_for_requests() == "http://ours:3128"
    assert read(write()).proxy_for_requests() is None
    assert read(write(cluster="{server: 'https://h'}")).proxy_for_requests() == "http://everywhere:3128"


def test_the_name_that_the_certificate_must_have_may_be_given(write: Write) -> None:
    access = read(write(cluster="{server: 'https://10.0.0.1', tls-server-name: kubernetes.default}"))
    assert access.server_name == "kubernetes.default"
