"""``audit`` is to the auditor what ``write`` is to the writer."""

from faults.auditor import Auditor

from . import write


class Command(write.Command):
    does = Auditor
