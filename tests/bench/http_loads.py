"""New connections a second: nginx on the servers of a cluster, wrk on its client."""

import re
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass

from cluster import SERVICE_PORT
from lab import BenchError, CpuClock, wait_until

CONNECTIONS = 64
NGINX = """\
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen {port} backlog=4096;
        location / {{ return 200 "{name}\\n"; }}
    }}
}}
"""


def server_start(stack, programs, host, name):
    directory = programs.scratch()
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(dir=directory, port=SERVICE_PORT, name=name),
                      encoding="ascii")
    process = stack.enter_context(host.spawn("nginx", "-p", str(directory), "-e",
                                             str(directory / "error.log"), "-c", str(config)))
    wait_until(lambda: host.run("ss", "-Hltn", f"sport = :{SERVICE_PORT}"), "nginx")
    process.check_alive()


@contextmanager
def servers_up(programs, wire):
    with ExitStack() as stack:
        for number, host in enumerate(wire.nodes[1:], 2):
            server_start(stack, programs, host, f"n{number}")
        yield f"http://{wire.address}:{SERVICE_PORT}/"


@dataclass(frozen=True)
class NewConnections:
    """wrk, a connection for each request; the answers are those of the servers."""
    name = f"wrk, {CONNECTIONS} at a time, a connection for each request"

    def measure(self, programs, wire, seconds):
        with servers_up(programs, wire) as url:
            wire.client.run("curl", "-sS", "--max-time", "10", "-o", "/dev/null", url)
            with CpuClock() as clock:
                output = wire.client.run(
                    "wrk", "-t", "1", "-c", str(CONNECTIONS), "-d",
                    f"{max(1, round(seconds))}s", "-H", "Connection: close", url)
        requests = int(re.search(r"(\d+) requests in", output)[1])
        if not requests or re.search(r"Non-2xx|Socket errors.*(connect|timeout) [1-9]",
                                     output):
            raise BenchError(f"wrk: {output}")
        rate = float(re.search(r"Requests/sec:\s*([\d.]+)", output)[1])
        return {"connections_per_s": rate,
                "cpu_us_per_connection": clock.busy * 1e6 / requests}

    def check(self, programs, wire, _megabytes):
        """Each server serves, or the spread is no spread."""
        names = {f"n{number}" for number in range(2, 1 + len(wire.nodes))}
        with servers_up(programs, wire) as url:
            seen = {wire.client.run("curl", "-sS", "--max-time", "5", url).strip()
                    for _ in range(4 * len(names))}
        if seen != names:
            raise BenchError(f"answers came from {sorted(seen)}, not {sorted(names)}")
