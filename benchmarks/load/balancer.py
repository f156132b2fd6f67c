"""nginx as the balancer before replicas, as an ingress would be set up before forecasts."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load.limits import SPARE_FILES, raise_open_files

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin")
"""Debian's package, where it is installed."""

MISSING = "nginx is not installed (Debian: apt-get install nginx-light)"

CONFIGURATION = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes auto;
worker_rlimit_nofile {files};
events {{
    worker_connections {connections};
}}
http {{
    access_log off;
    default_type application/json;
    # What a request holds stays in memory: the workers need no folder.
    client_max_body_size 8m;
    client_body_buffer_size 8m;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    keepalive_timeout 75s;
    keepalive_requests 100000;
    upstream replicas {{
        zone replicas 256k;
        # Never counted out: a replica that is gone refuses at once, and may be back in a second.
{servers}
        keepalive 512;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_connect_timeout 2s;
            proxy_read_timeout 60s;
            proxy_buffers 32 64k;
            proxy_buffer_size 64k;
            proxy_max_temp_file_size 0;
            # A forecast changes nothing: whatever was lost may be sent again.
            proxy_next_upstream error timeout invalid_header http_502 http_503 non_idempotent;
            proxy_next_upstream_tries 3;
        }}
    }}
}}
"""


def write_configuration(folder: Path, port: int, addresses: Sequence[str]) -> Path:
    """Write nginx's configuration into a folder; returns the file.

    Args:
        folder: for it and nginx's temporary files.
        port: of loopback, to listen on.
        addresses: the replicas, as `host:port`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = raise_open_files()
    text = CONFIGURATION.format(
        folder=folder,
        files=files,
        connections=files - SPARE_FILES,
        port=port,
        servers="\n".join(f"        server {address} max_fails=0;" for address in addresses),
    )
    path = folder / "nginx.conf"
    path.write_text(text)
    return path
