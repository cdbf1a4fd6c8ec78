"""Who may see what: the viewer, and the permissions that are asked about them."""

from .drf import drf
from .rules import (
    Permission,
    anyone,
    has_model_perm,
    has_perm,
    is_authenticated,
    is_owner,
    is_self,
    permission,
    same_tenant,
)
from .viewers import Viewer

__all__ = [
    "Permission",
    "Viewer",
    "anyone",
    "drf",
    "has_model_perm",
    "has_perm",
    "is_authenticated",
    "is_owner",
    "is_self",
    "permission",
    "same_tenant",
]
