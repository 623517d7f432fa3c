"""The log and all that is guarded with it, and the functions that change it."""

from podium.store.postgres.migrations import execute_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and functions."""
    execute_file("0001_the_log.up.sql")


def downgrade() -> None:
    """Drop them, with everything that is in them."""
    execute_file("0001_the_log.down.sql")
