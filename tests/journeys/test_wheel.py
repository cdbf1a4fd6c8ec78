"""The built wheel, looked into, and installed beside a project that has permissions.py and the like of its own."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ["gateway", "permissions", "serializers"]


def run(*command: object, cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO", "PYTHON", "COV"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing of an earlier build is in it and none of this one stays. What begins with a
    dot is left out: caches come and go while other tests run."""
    source = tmp_path_factory.mktemp("source") / "a-checkout"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__"))
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out, source, cwd=out)
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty project, with a virtual environment that holds the wheel and what the wheel asks for."""
    folder = tmp_path_factory.mktemp("project")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    run(folder / "venv/bin/python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


def test_it_holds_the_three_rooms_and_nothing_that_could_meet_a_users_own(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    expected = {"livegate/__init__.py", "livegate/py.typed"} | {
        f"livegate/{path.relative_to(ROOT)}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {name.split("/")[0].split("-")[0] for name in names} == {"livegate"}


def test_it_says_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as files:
        [metadata] = [name for name in files.namelist() if name.endswith("METADATA")]
        text = files.read(metadata).decode()

    assert "Name: livegate\n" in text
    assert "Requires-Python: >=3.11\n" in text
    for need in ["django>=5.2", "djangorestframework", "channels>", "channels-redis", "django-model-utils"]:
        assert f"Requires-Dist: {need}" in text
    for need in ["django-guardian", "hashids", "orjson"]:
        assert f"Requires-Dist: {need}" in text
    assert "pytest" not in text.split("\n\n")[0]


def test_a_project_with_files_of_the_same_names_works_with_it(project: Path) -> None:
    told = run(project / "venv/bin/python", "main.py", cwd=project, DJANGO_SETTINGS_MODULE="settings")

    owner, other = (ast.literal_eval(line.partition(": UPDATE_ORDER ")[2]) for line in told.splitlines()[-2:])
    assert owner == {"id": owner["id"], "total": 7, "cost": 3}
    assert other == {"id": owner["id"], "total": 7}


FILES = {
    "settings.py": """
SECRET_KEY = "x"
DEBUG = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
INSTALLED_APPS = [
    "django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "channels", "guardian",
    "livegate.gateway", "shop",
]
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend", "guardian.backends.ObjectPermissionBackend",
]
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
LIVEGATE = {"HASHID_SALT": "of its own"}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
""",
    "permissions.py": "OURS = True\n",
    "serializers.py": "OURS = True\n",
    "gateway.py": "OURS = True\n",
    "shop/__init__.py": "",
    "shop/models.py": """
from django.conf import settings
from django.db import models
from livegate.gateway.models import PushModelMixin
from model_utils import FieldTracker

class Order(PushModelMixin, models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    total = models.IntegerField()
    cost = models.IntegerField()
    tracker = FieldTracker(fields=["owner", "total", "cost"])
""",
    "shop/permissions.py": "from livegate.permissions import is_owner\nowns = is_owner('owner')\n",
    "shop/serializers.py": """
from livegate.serializers import HashidField, PerUserSerializerMixin
from rest_framework import serializers
from .models import Order
from .permissions import owns

class OrderSerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    id = HashidField()
    class Meta:
        model = Order
        fields = ["id", "total", "cost"]
        guards = {"cost": owns}
""",
    "shop/publications.py": """
from livegate.gateway.publications import publish
from livegate.permissions import is_authenticated
from .models import Order
from .serializers import OrderSerializer

publish(Order, OrderSerializer, to=is_authenticated)
""",
    "main.py": """
import asyncio
import json
import django

django.setup()

import gateway, permissions, serializers
assert gateway.OURS and permissions.OURS and serializers.OURS
from asgiref.sync import sync_to_async
from channels.routing import URLRouter
from django.contrib.auth.models import User
from django.core.management import call_command
from livegate.gateway.routing import websocket_urlpatterns
from shop.models import Order

call_command("makemigrations", "shop", verbosity=0)
call_command("migrate", verbosity=0)
call_command("check", fail_level="WARNING", verbosity=0)
owner, other = User.objects.create(username="owner"), User.objects.create(username="other")
order = Order.objects.create(owner=owner, total=5, cost=3)

async def connect(user):
    inbox, outbox = asyncio.Queue(), asyncio.Queue()
    scope = {"type": "websocket", "path": "/ws/notifications/", "headers": [], "user": user}
    task = asyncio.create_task(URLRouter(websocket_urlpatterns)(scope, inbox.get, outbox.put))
    inbox.put_nowait({"type": "websocket.connect"})
    subscribe = json.dumps({"model": "shop.Order", "id": order.hashid, "request_id": 1})
    inbox.put_nowait({"type": "websocket.receive", "text": subscribe})
    assert (await outbox.get())["type"] == "websocket.accept"
    assert "SUBSCRIBED" in (await outbox.get())["text"]
    return inbox, outbox, task

async def main():
    clients = [await connect(user) for user in (owner, other)]
    order.total = 7
    await sync_to_async(order.save)()
    for name, (inbox, outbox, task) in zip(("owner", "other"), clients):
        frame = json.loads((await outbox.get())["text"])
        print(f"{name}: {frame['type']} {frame['payload']}")
        inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await task

asyncio.run(asyncio.wait_for(main(), 60))
""",
}
