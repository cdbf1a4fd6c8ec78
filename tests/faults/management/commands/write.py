"""``write COMMAND [ARGUMENTS AS JSON]`` carries out one command of the writer's, and ends.

Without arguments it carries out what it is told on its standard input: a line of JSON each, with the command and its
arguments; it answers by a line of JSON.
"""

import json
import sys

from django.core.management.base import BaseCommand
from django.db import close_old_connections

from faults.writer import Writer


class Command(BaseCommand):
    requires_system_checks = []
    does = Writer

    def add_arguments(self, parser):
        parser.add_argument("command", nargs="?")
        parser.add_argument("arguments", nargs="?", type=json.loads, default={})

    def handle(self, *, command, arguments, **options):
        writer = self.does()
        if command:
            getattr(writer, command)(**arguments)
            return
        self.answer("ready")
        for line in sys.stdin:
            name, given = json.loads(line)
            close_old_connections()  # the database may have been restarted since
            self.answer(getattr(writer, name)(**given))

    def answer(self, reply):
        print(json.dumps(reply), flush=True)
