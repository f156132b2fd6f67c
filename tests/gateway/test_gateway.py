"""The gateway's configuration: one set of files, filled in for each place."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from page_process import FOLDER as PAGE

from kalecast.cluster.gateway.nginx import REFUSALS, Gateway, GatewayError, files, write

STEP = Path(__file__).resolve().parents[2] / "cluster-setup" / "6-protection"


def test_every_value_is_filled_in_and_every_included_file_is_there():
    edge = {"certificate": "c.pem", "certificate_key": "c.key", "sign_in": "127.0.0.1:4180"}
    found = files(Gateway(folder="/run/gateway", **edge))
    whole = "\n".join(found.values())
    assert not re.search(r"@[a-z_]+@", whole)
    included = set(re.findall(r"^\s*include ([^;]+);", whole, re.MULTILINE))
    rules = set(re.findall(r"^Include /run/gateway/(\S+)$", whole, re.MULTILINE))
    assert included | rules <= found.keys()
    assert found.keys() - included - rules == {
        "nginx.conf",
        "signatures-nginx.conf",
        "rules/list.conf",
        "rules/main.conf",
    }


def test_rules_are_the_same_in_every_place():
    here = files(Gateway(folder="/run/gateway", certificate="c.pem", certificate_key="c.key"))
    place = {"names": ("app.example.org",), "host": "0.0.0.0", "trusted": ("10.0.0.0/8",)}
    there = files(Gateway(folder="/run/gateway", pages=("kalecast-page:80",), **place))
    rules = [name for name in here if name.startswith("rules/")]
    assert rules
    assert all(here[name] == there[name] for name in rules)


def test_expressions_are_anchored_to_whole_values():
    """The engine sees ^ and $ at each line: an attack on a second line would be benign."""
    for name, text in files(Gateway(folder="/run/gateway")).items():
        if not name.startswith("rules/benign"):
            continue
        for expression in re.findall(r'"!?@rx ((?:[^"\\]|\\.)*)"', text):
            assert expression.startswith(r"\A"), (name, expression)
            assert expression.endswith(r"\z"), (name, expression)


def test_numbers_of_rules_are_used_once():
    whole = "\n".join(t for n, t in files(Gateway(folder="/run/gateway")).items() if "rules/" in n)
    numbers = re.findall(r"\bid:(\d+)", whole)
    assert len(numbers) == len(set(numbers))
    # The range that is left to sites.
    assert all(10_000 <= int(number) < 100_000 for number in numbers)


def test_tls_ends_before_the_gateway_where_it_has_no_certificate():
    plain = files(Gateway(folder="/run/gateway", trusted=("10.0.0.0/8",)))
    assert "ssl" not in plain["front.conf"]
    assert "set_real_ip_from 10.0.0.0/8;" in plain["front.conf"]
    assert "Strict-Transport-Security" in plain["headers.conf"]
    assert "X-Forwarded-Proto https" in plain["forwarded-headers.conf"]


def test_the_gateway_is_the_edge_where_no_proxy_stands_before_it():
    certificate = {"certificate": "c.pem", "certificate_key": "c.key", "plain_port": 8080}
    edge = files(Gateway(folder="/run/gateway", **certificate))
    behind = files(Gateway(folder="/run/gateway", trusted=("10.0.0.0/8",), **certificate))

    assert "listen 127.0.0.1:8443 " in edge["edge.conf"]
    assert "listen 127.0.0.1:8080;" in edge["edge.conf"]
    assert "listen 127.0.0.1:" not in edge["front.conf"]
    assert "proxy_upload_rate 8000k;" in edge["edge.conf"]
    assert "stream" not in behind["edge.conf"]
    assert "listen 127.0.0.1:8443 " in behind["front.conf"]
    assert "proxy_protocol" not in behind["front.conf"]


@pytest.mark.parametrize(
    ("place", "port"),
    [
        ({"certificate": "c.pem", "port": 8443}, ":8443"),
        ({"certificate": "c.pem", "port": 443}, ""),
        ({"certificate": "c.pem", "port": 8443, "public_port": 443}, ""),
        ({"trusted": ("10.0.0.0/8",), "port": 8080}, ""),
        ({"trusted": ("10.0.0.0/8",), "port": 8080, "public_port": 9443}, ":9443"),
        ({"port": 8080}, ":8080"),
        ({"port": 80}, ""),
    ],
)
def test_the_page_gets_the_port_that_customers_type(place: dict, port: str):
    headers = files(Gateway(folder="/run/gateway", **place))["forwarded-headers.conf"]
    assert f"Host $host{port};" in headers
    assert "$http_host" not in headers


def test_a_gateway_that_was_killed_leaves_nothing_in_the_way(tmp_path: Path):
    gateway = Gateway(folder=str(tmp_path), certificate="c.pem", certificate_key="c.key")
    write(gateway, tmp_path)
    for name in re.findall(r"(\w+\.sock);", (tmp_path / "edge.conf").read_text()):
        (tmp_path / name).touch()
    write(gateway, tmp_path)
    assert not list(tmp_path.glob("*.sock"))


def mapped(file: str, source: str, value: str) -> str:
    """What a map of nginx by regular expressions makes of a value; nothing where none holds."""
    text = files(Gateway(folder="/run/gateway"))[file]
    block = re.search(rf"^map \{source} \S+ {{\n(.*?)^}}", text, re.MULTILINE | re.DOTALL)
    assert block
    for pattern, result in re.findall(r'"~(\^[^"]+)" (\S+);', block[1]):
        if found := re.match(pattern.replace("(?<", "(?P<"), value):
            return re.sub(r"\$(\w+)", lambda name: found[name[1]], result.strip('"'))
    return ""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2:a:b:c:d", "2001:db8:1:2:ffff::1", True),
        ("2001:db8:1:2:a:b:c:d", "2001:db8:1:3:a:b:c:d", False),
        ("2001:db8::a:b:c:d", "2001:db8::e:f:1:2", True),
        ("2001:db8::1", "2001:db9::1", False),
    ],
)
def test_a_subscriber_of_ipv6_is_one_client(one: str, other: str, same: bool):
    keys = [mapped("list.conf", "$http_x_forwarded_for", address) for address in (one, other)]
    assert all(keys)
    assert (keys[0] == keys[1]) is same


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2a00:1450:1:2:3:4:5:6", "2a00:1450::/32"),
        ("2a00::1234", "2a00::/32"),
        ("unix:", ""),
    ],
)
def test_logs_have_networks_and_no_addresses(address: str, network: str):
    assert mapped("log.conf", "$remote_addr", address) == network


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"names": ("a b",)}, "Expected a host's name such as app.example.org, received: 'a b'"),
        ({"names": ("x;}",)}, "received: 'x;}'"),
        ({"names": ()}, "Expected at least one page and one name."),
        ({"pages": ()}, "Expected at least one page and one name."),
        ({"paranoia": 2}, "received: 2 and 1"),
        ({"paranoia": 0}, "received: 0 and 1"),
        ({"engine": "Off"}, "received: 'Off'"),
        ({"folder": "/a" * 50, "certificate": "c.pem"}, "Expected a folder with a shorter path"),
    ],
)
def test_what_cannot_be_is_said(wrong: dict, message: str):
    with pytest.raises(GatewayError, match=re.escape(message)):
        Gateway(**{"folder": "/run/gateway", **wrong})


def test_every_refusal_is_a_sentence_in_json():
    maps = files(Gateway(folder="/run/gateway"))["refusal-bodies.conf"]
    bodies = [json.loads(body) for body in re.findall(r"default '(\{.*\})';", maps)]
    assert [body["detail"] for body in bodies] == [REFUSALS[code] for code in sorted(REFUSALS)]
    # Gradio's frontend shows what is called an error.
    assert all(body["error"] == body["detail"] for body in bodies)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--limit", "forecasts=3"], "Expected a limit such as forecast_rate=50, one of"),
        (["--limit", "forecast_rate=-3"], "received: 'forecast_rate=-3'"),
        (["--certificate", "c.pem"], "Expected a certificate together with its key."),
        (["--name", "a b"], "Expected a host's name such as app.example.org, received: 'a b'"),
    ],
)
def test_what_was_typed_wrong_is_said(options: list[str], message: str, tmp_path: Path):
    command = [sys.executable, "-m", "kalecast.cluster.gateway.local", "--folder", tmp_path]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_page_has_the_sources_that_the_gateway_knows():
    event = (PAGE / "request_bodies.py").read_text()
    (names,) = re.findall(r"^SAMPLE, FILE, PASTE = (.+)$", event, re.MULTILINE)
    known = "|".join(name.strip('"') for name in names.split(", "))
    assert rf"\A(?:{known})\z" in files(Gateway(folder="/run/gateway"))["rules/benign-bodies.conf"]


def test_the_gateway_lets_in_what_the_page_takes_and_no_more():
    front = files(Gateway(folder="/run/gateway"))["front.conf"]
    code = "".join((PAGE / name).read_text() for name in ("upload_token.py", "request_bodies.py"))
    sizes = dict(re.findall(r"^(LARGEST_\w+) = ([\w +*]+)$", code, re.MULTILINE))
    token = math.prod(map(int, sizes["LARGEST_TOKEN"].split(" * ")))
    assert sizes["LARGEST_EVENT"] == "2 * LARGEST_TOKEN + 2 * 1024 * 1024"
    assert f"client_max_body_size {2 * token // 2**20 + 2}m;" in front
    assert sizes["LARGEST_REQUEST"] == "512 * 1024"
    assert "client_max_body_size 512k;" in front
