"""Behind nginx, as ``docs/deployment.md`` configures it: WebSockets pass, and a restart sends clients elsewhere."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import signal
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.request import urlopen

import servers
from site_client import PATIENCE, PEOPLE, code_of, rest, watching, work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = (servers.ROOT / "docs" / "deployment.md").read_text()
CLIENTS = PEOPLE * 2


def blocks(language: str) -> list[str]:
    return re.findall(f"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def options_of_uvicorn() -> list[str]:
    """Those of the page's unit, apart from the port."""
    [unit] = blocks("ini")
    command = shlex.split(unit.replace("\\\n", " ").partition("ExecStart=")[2].partition("\n")[0])
    return command[command.index("%i") + 1 :]


@contextmanager
def nginx(folder: Path, addresses: list[str]) -> Iterator[str]:
    """The address of an nginx before these, with the page's configuration, but for files and ports, and without TLS."""
    of_site, of_nginx = blocks("nginx")
    port = servers.free_port()
    changes = {"listen 443 ssl;": f"listen 127.0.0.1:{port};"}
    changes |= {f"server 127.0.0.1:{8001 + number};": f"server {one};" for number, one in enumerate(addresses)}
    for theirs, ours in changes.items():
        assert theirs in of_site
        of_site = of_site.replace(theirs, ours)
    of_site = re.sub("^ *ssl_.*\n", "", of_site, flags=re.MULTILINE)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    own = f"daemon off;\npid {folder}/pid;\n{of_nginx}"
    (folder / "nginx.conf").write_text(f"{own}http {{\naccess_log off;\n{folders}{of_site}}}\n")
    command = [servers.program("nginx", "usr/sbin/nginx"), "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"]
    with servers.process(command, "nginx", lambda: servers.accepts(port)):
        yield f"127.0.0.1:{port}"


async def test_saves_pass_and_those_on_a_process_that_restarts_come_back_to_another(prepared, redis_url, tmp_path):
    file = shutil.copy(prepared.file, tmp_path)
    environment = {"DATABASE_URL": f"sqlite:///{file}", "REDIS_URL": redis_url}
    serving = servers.uvicorn(environment, *options_of_uvicorn())
    serving_too = servers.uvicorn(environment, *options_of_uvicorn())
    with serving as (one, server), serving_too as (another, _), nginx(tmp_path, [one, another]) as address:
        site = SimpleNamespace(address=address, environment=environment, **prepared.known)
        async with watching(site, *CLIENTS) as clients:
            await asyncio.to_thread(work, site, "card.title = 'Passes'; card.save()")
            payloads = [(await client.receive())["payload"] for client in clients]
            assert payloads == [rest(site, person) for person in CLIENTS]

            closing = [asyncio.create_task(code_of(client)) for client in clients]
            server.send_signal(signal.SIGTERM)
            ended = await asyncio.to_thread(server.wait, PATIENCE)
            async with asyncio.timeout(PATIENCE):
                while sum(task.done() for task in closing) < len(CLIENTS) / 2:
                    await asyncio.wait(closing, return_when=asyncio.FIRST_COMPLETED)

            async with watching(site, *PEOPLE) as again:
                await asyncio.to_thread(work, site, "card.title = 'Elsewhere'; card.save()")
                titles = [(await client.receive())["payload"]["title"] for client in again]
            with urlopen(f"http://{address}/health/") as health:
                assert health.status == 200
            codes = [task.result() for task in closing if task.done()]
            for task in closing:
                task.cancel()

    assert ended == -signal.SIGTERM
    assert codes == [1012] * (len(CLIENTS) // 2)  # those that nginx had sent there, which is half of them
    assert titles == ["Elsewhere"] * len(PEOPLE)
