# ruff: noqa: E501 - what clients say of themselves stands on one line
"""Headers of the clients that customers use, and of the proxies on their way."""

from collections.abc import Iterator
from random import Random

LANGUAGES = (
    *("en-US,en;q=0.9", "en-GB,en-US;q=0.9,en;q=0.8", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"),
    *("fr-FR,fr;q=0.9", "fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", "es-419,es;q=0.9", "it-IT"),
    *("pt-BR,pt;q=0.8,en-US;q=0.5,en;q=0.3", "nl-NL,nl;q=0.9", "pl-PL,pl;q=0.9", "cs,en;q=0.5"),
    *("hu-HU,hu;q=0.9", "tr-TR,tr;q=0.9", "sv-SE,sv;q=0.8", "fi-FI,fi;q=0.9", "ru-RU,ru;q=0.9"),
    *("uk-UA,uk;q=0.9", "el-GR,el;q=0.9", "he-IL,he;q=0.9", "ar-EG,ar;q=0.9", "hi-IN,hi;q=0.9"),
    *(
        "th-TH,th;q=0.9",
        "vi-VN,vi;q=0.9",
        "ja,en-US;q=0.9",
        "zh-CN,zh;q=0.9",
        "zh-Hant-TW",
        "ko-KR",
    ),
    *("sr-Latn-RS,sr;q=0.9", "ca-ES-valencia,ca;q=0.9", "*"),
)

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
WINDOWS = "Windows NT 10.0; Win64; x64"
MAC = "Macintosh; Intel Mac OS X 10_15_7"

CHROMIUM = (
    ("Chrome", WINDOWS, "Chrome/139.0.0.0 Safari/537.36", "Google Chrome", "139", "Windows", "?0"),
    ("Chrome", MAC, "Chrome/131.0.0.0 Safari/537.36", "Google Chrome", "131", "macOS", "?0"),
    ("Chrome", "X11; Linux x86_64", "Chrome/124.0.0.0 Safari/537.36", "Chromium", "124", "Linux", "?0"),
    ("Chrome", "X11; CrOS x86_64 14541.0.0", "Chrome/128.0.0.0 Safari/537.36", "Google Chrome", "128",
     "Chrome OS", "?0"),
    ("Chrome", "Linux; Android 10; K", "Chrome/137.0.0.0 Mobile Safari/537.36", "Google Chrome", "137",
     "Android", "?1"),
    ("Edge", WINDOWS, "Chrome/138.0.0.0 Safari/537.36 Edg/138.0.3351.55", "Microsoft Edge", "138",
     "Windows", "?0"),
    ("Opera", WINDOWS, "Chrome/126.0.0.0 Safari/537.36 OPR/112.0.0.0", "Opera", "126", "Windows", "?0"),
    ("Samsung", "Linux; Android 13; SAMSUNG SM-S918B",
     "SamsungBrowser/24.0 Chrome/117.0.0.0 Mobile Safari/537.36", "Samsung Internet", "117", "Android",
     "?1"),
    ("Brave", MAC, "Chrome/135.0.0.0 Safari/537.36", "Brave", "135", "macOS", "?0"),
    ("WebView", "Linux; Android 12; Pixel 6 Build/SD1A.210817.023; wv",
     "Version/4.0 Chrome/94.0.4606.71 Mobile Safari/537.36", "Android WebView", "94", "Android", "?1"),
)  # fmt: skip
GREASE = (
    '"Not;A=Brand";v="99"',
    '"Not)A;Brand";v="8"',
    '"Not A(Brand";v="24"',
    '" Not A;Brand";v="99"',
)

OTHERS = (
    f"Mozilla/5.0 ({WINDOWS}; rv:141.0) Gecko/20100101 Firefox/141.0",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Android 14; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0",
    f"Mozilla/5.0 ({MAC}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (iPad; CPU OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "CriOS/127.0.6533.77 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Mobile/15E148 Instagram 339.0.3.12.91 (iPhone14,5; iOS 17_5; de_DE; de; scale=3.00; 1170x2532)",
)  # fmt: skip

PROGRAMS = (
    {"User-Agent": "curl/7.88.1", "Accept": "*/*"},
    {"User-Agent": "curl/8.14.1", "Accept": "*/*", "Accept-Encoding": "deflate, gzip, br, zstd"},
    {
        "User-Agent": "python-requests/2.32.4",
        "Accept-Encoding": "gzip, deflate",
        "Accept": "*/*",
        "Connection": "keep-alive",
    },
    {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "Python/3.12 aiohttp/3.12.15"},
    {
        "Accept": "*/*",
        "Accept-Encoding": "gzip, deflate, br",
        "Connection": "keep-alive",
        "User-Agent": "python-httpx/0.28.1",
    },
    {"User-Agent": "Python-urllib/3.11", "Accept-Encoding": "identity", "Connection": "close"},
    {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"},
    {"User-Agent": "Go-http-client/2.0", "Accept-Encoding": "gzip"},
    {"User-Agent": "Java-http-client/21.0.4"},
    {
        "User-Agent": "Java/1.8.0_412",
        "Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        "Connection": "keep-alive",
    },
    {"User-Agent": "Apache-HttpClient/4.5.14 (Java/17.0.11)", "Accept-Encoding": "gzip,deflate"},
    {"User-Agent": "okhttp/4.12.0", "Accept-Encoding": "gzip", "Connection": "Keep-Alive"},
    {
        "Accept": "application/json, text/plain, */*",
        "User-Agent": "axios/1.7.9",
        "Accept-Encoding": "gzip, compress, deflate, br",
    },
    {
        "accept": "*/*",
        "accept-language": "*",
        "sec-fetch-mode": "cors",
        "user-agent": "node",
        "accept-encoding": "gzip, deflate",
    },
    {"User-Agent": "undici", "Accept": "*/*"},
    {"User-Agent": "got (https://github.com/sindresorhus/got)", "Accept": "application/json"},
    {"User-Agent": "Wget/1.21.3", "Accept": "*/*", "Accept-Encoding": "identity"},
    {
        "User-Agent": "PostmanRuntime/7.44.1",
        "Accept": "*/*",
        "Cache-Control": "no-cache",
        "Postman-Token": "5c2f4a1e-8f0d-4a2b-9a53-1f6d4e8b7c21",
        "Accept-Encoding": "gzip, deflate, br",
    },
    {"User-Agent": "insomnia/11.3.0", "Accept": "*/*"},
    {
        "User-Agent": "Mozilla/5.0 (Windows NT; Windows NT 10.0; de-DE) WindowsPowerShell/5.1.19041.4648",
    },
    {"User-Agent": "RestSharp/112.1.0.0", "Accept": "application/json, text/json, text/x-json"},
    {"User-Agent": "libcurl/8.5.0 r-curl/5.2.1 httr/1.4.7", "Accept": "application/json, text/xml, */*"},
    {"User-Agent": "reqwest/0.12.5", "Accept": "*/*"},
    {"User-Agent": "Faraday v2.9.0", "Accept": "*/*", "Accept-Encoding": "gzip;q=1.0,deflate;q=0.6"},
    {"User-Agent": "GuzzleHttp/7"},
    {"User-Agent": "ACME-Energy-Sync/3.2 (+https://example.org/bot; ops@example.org)", "Accept": "*/*"},
    {"User-Agent": "Dart/3.4 (dart:io)", "Accept-Encoding": "gzip"},
    {"User-Agent": "home-assistant/2026.1 aiohttp/3.12 Python/3.13", "Accept": "*/*"},
    {"User-Agent": "Excel/16.0 (Microsoft Excel; Power Query)", "Accept": "application/json"},
)  # fmt: skip

ON_THE_WAY = (
    {"Via": "1.1 varnish (Varnish/7.1)", "X-Forwarded-For": "203.0.113.7, 10.0.0.1"},
    {"Via": "2 squid.example.org:3128 (squid/6.6), 1.1 google", "Cache-Control": "max-age=259200"},
    {
        "CF-Ray": "8f1c2d3e4a5b6c7d-FRA",
        "CF-Connecting-IP": "2001:db8:85a3::8a2e:370:7334",
        "CF-IPCountry": "DE",
        "CF-Visitor": '{"scheme":"https"}',
        "CDN-Loop": "cloudflare; loops=1",
    },
    {"Forwarded": 'for=192.0.2.60;proto=https;by=203.0.113.43, for="[2001:db8:cafe::17]:4711"'},
    {
        "X-Amzn-Trace-Id": "Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=1",
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
    },
    {"X-Cloud-Trace-Context": "105445aa7843bc8bf206b12000100000/1;o=1"},
    {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
        "baggage": "userId=alice,serverNode=DF%2028,isProduction=false;meta=1",
    },
    {
        "X-B3-TraceId": "463ac35c9f6413ad48485a3953bb6124",
        "X-B3-SpanId": "a2fb4a1d1a96d312",
        "X-B3-Sampled": "1",
        "X-Envoy-Attempt-Count": "1",
        "X-Envoy-Expected-Rq-Timeout-Ms": "15000",
    },
    {
        "sentry-trace": "d4cda95b652f4a1592b449d5929fda1b-6e0c63257de34c92-1",
        "baggage": "sentry-trace_id=d4cda95b652f4a1592b449d5929fda1b,sentry-release=app%401.0",
    },
    {"X-Request-ID": "f058ebd6-02f7-4d3f-942e-904344e8cde5", "X-Correlation-ID": "order/2026-01-31#7"},
    {"Save-Data": "on", "ECT": "4g", "RTT": "100", "Downlink": "1.35", "Device-Memory": "8"},
    {"DNT": "1", "Sec-GPC": "1", "X-Requested-With": "XMLHttpRequest"},
    {"X-Real-IP": "198.51.100.23", "X-Forwarded-Server": "proxy-3.example.org", "X-BlueCoat-Via": "ab12"},
    {"Cookie": "_ga=GA1.2.1234567890.1767225600; _gid=GA1.2.987654321.1767225600; theme=dark"},
    {"Cookie": "_xsrf=2|8f2d1c3b|e0f1a2b3c4d5e6f708192a3b4c5d6e7f|1767225600; username-localhost-8888="
     '"2|1:0|10:1767225600|23:username-localhost-8888|44:ZjQ4YzE=|0a1b2c3d"'},
    {"Cookie": "CookieConsent={stamp:%27mX3n==%27%2Cnecessary:true%2Cpreferences:false%2Cver:1}"},
    {"Cookie": "OptanonConsent=isGpcEnabled=0&datestamp=Mon+Jan+05+2026+10%3A20%3A30+GMT%2B0100"},
    {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324", "X-Client-Version": "1.4.2 (build 77)"},
    {"Accept-Charset": "utf-8, iso-8859-1;q=0.5", "From": "ops@example.org", "Pragma": "no-cache"},
    {"Sec-Purpose": "prefetch;prerender", "Purpose": "prefetch"},
    {"Priority": "u=1, i", "X-Zscaler-Bypass-Traffic": "false"},
    {"X-Forwarded-For": "2001:db8::1, 192.0.2.43", "X-Original-Host": "forecast.example.org"},
)  # fmt: skip


class Clients:
    """Clients one after the other, each a little different from those before.

    Args:
        dice: what decides.
        home: the page's address as customers type it.
    """

    def __init__(self, dice: Random, home: str) -> None:
        self._dice = dice
        self._home = home
        self._programs = _round(PROGRAMS)
        self._ways = _round(ON_THE_WAY)
        self._browsers = _round((*range(len(CHROMIUM)), *OTHERS))
        self._languages = _round(LANGUAGES)

    def program(self, path: str) -> dict[str, str]:
        """Headers of a program's request."""
        del path
        headers = dict(next(self._programs))
        if self._dice.random() < 0.4:
            headers["Authorization"] = f"Bearer {self._key()}"
        return {**headers, **self._way(0.4)}

    def browser(self, path: str) -> dict[str, str]:
        """Headers of a browser that asks for a path of the page."""
        chosen = next(self._browsers)
        headers = {"User-Agent": chosen} if isinstance(chosen, str) else self._chromium(chosen)
        headers |= {
            "Accept-Encoding": "gzip, deflate, br, zstd",
            "Accept-Language": next(self._languages),
            **self._fetch(path),
        }
        return {**headers, **self._way(0.3)}

    def _chromium(self, at: int) -> dict[str, str]:
        _, system, rest, brand, version, platform, mobile = CHROMIUM[at]
        grease = self._dice.choice(GREASE)
        brands = [f'"{brand}";v="{version}"', f'"Chromium";v="{version}"', grease]
        self._dice.shuffle(brands)
        return {
            "sec-ch-ua": ", ".join(brands),
            "sec-ch-ua-mobile": mobile,
            "sec-ch-ua-platform": f'"{platform}"',
            "User-Agent": f"Mozilla/5.0 ({system}) {WEBKIT} {rest}",
        }

    def _fetch(self, path: str) -> dict[str, str]:
        if path.partition("?")[0] == "/":
            where = self._dice.choice(("none", "cross-site", "same-origin"))
            referer = {"cross-site": "https://www.example.com/", "same-origin": f"{self._home}/"}
            return {
                "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,"
                "image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
                "Upgrade-Insecure-Requests": "1",
                "Sec-Fetch-Site": where,
                "Sec-Fetch-Mode": "navigate",
                "Sec-Fetch-User": "?1",
                "Sec-Fetch-Dest": "document",
                "Cache-Control": "max-age=0",
                **({"Referer": referer[where]} if where in referer else {}),
            }
        kinds = {"js": "script", "css": "style", "png": "image", "svg": "image", "woff2": "font"}
        kind = kinds.get(path.partition("?")[0].rpartition(".")[2], "empty")
        accept = {"style": "text/css,*/*;q=0.1", "image": "image/avif,image/webp,image/*,*/*;q=0.8"}
        return {
            "Accept": accept.get(kind, "*/*"),
            "Referer": f"{self._home}/",
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Mode": "cors" if kind in ("empty", "font") else "no-cors",
            "Sec-Fetch-Dest": kind,
        }

    def _way(self, share: float) -> dict[str, str]:
        return dict(next(self._ways)) if self._dice.random() < share else {}

    def _key(self) -> str:
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        name = "".join(self._dice.choices(letters[:-2], k=8))
        return f"kalecast_{name}_{''.join(self._dice.choices(letters, k=43))}"


def _round[Item](items: tuple[Item, ...]) -> Iterator[Item]:
    while True:
        yield from items
