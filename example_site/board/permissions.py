"""Who may do what with a card; the REST API and the push ask the same questions."""

from rest_framework.permissions import SAFE_METHODS, BasePermission

from livegate.permissions import Viewer, has_perm, is_owner, permission, same_tenant


@permission
def is_public(viewer, card):
    return card.public


in_the_house = same_tenant("board__organization", "memberships__organization")
on_the_team = in_the_house & (is_owner("owner") | has_perm("view_card"))
knows_the_salary = in_the_house & (is_owner("owner") | has_perm("view_salary"))

can_see = is_public | on_the_team
can_edit = in_the_house & (is_owner("owner") | has_perm("change_card"))


class CardPermission(BasePermission):
    """The same for the REST API. What may not be seen is not found."""

    def has_object_permission(self, request, view, card):
        viewer = Viewer.of_request(request)
        if not can_see.allows(viewer, card):
            self.code = "not_found"
            return False
        return request.method in SAFE_METHODS or can_edit.allows(viewer, card)
