from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from board.demo import load


class Command(BaseCommand):
    help = "Load the people and the card of the demonstration, or bring them back to the beginning."

    def handle(self, *args, **options):
        if not settings.DEBUG:
            raise CommandError("The demonstration has an admin with a known password: load it with DEBUG=1 only.")
        load()
        self.stdout.write("The demonstration is loaded. In the admin: admin / admin.")
