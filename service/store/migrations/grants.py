"""Who may work with a table may work with the one that takes its place."""

from alembic import op
from sqlalchemy import text

#: To whom, what, and whether it may be passed on; of a table that is not there, nothing.
_GIVEN = text(
    "SELECT coalesce(quote_ident(rolname), 'PUBLIC'), privilege_type, is_grantable "
    "FROM pg_class AS target, pg_class AS source "
    "CROSS JOIN aclexplode(coalesce(source.relacl, acldefault('r', source.relowner))) "
    "LEFT JOIN pg_roles ON pg_roles.oid = grantee "
    "WHERE source.oid = to_regclass(:source) AND target.oid = to_regclass(:target) "
    "AND grantee <> target.relowner AND pg_has_role(target.relowner, 'USAGE')"
)


def copy_grants(source: str, target: str) -> None:
    """Grant on ``target`` what is granted on ``source``, and all of it to the owner of that."""
    given = op.get_bind().execute(_GIVEN, {"source": source, "target": target})
    for grantee, privilege, is_grantable in given.all():
        option = " WITH GRANT OPTION" if is_grantable else ""
        op.execute(f"GRANT {privilege} ON {target} TO {grantee}{option}")
