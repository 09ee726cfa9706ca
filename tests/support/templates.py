"""Which empty databases tests copy, where not those that the code at hand makes.

Newer code may have made them: so the tests of an older version show that it goes on working while
the schema is ahead of it.
"""

from typing import Final

#: The path of a SQLite file.
SQLITE: Final = "TEST_SQLITE_TEMPLATE"
#: The name of a database of the server that ``TEST_DATABASE_URL`` names; nobody may be connected.
POSTGRES: Final = "TEST_POSTGRES_TEMPLATE"
