from django.core.management.base import BaseCommand

from board.demo import load


class Command(BaseCommand):
    help = "Load the people and the card of the demonstration, or bring them back to the beginning."

    def handle(self, *args, **options):
        load()
        self.stdout.write("The demonstration is loaded. In the admin: admin / admin.")
