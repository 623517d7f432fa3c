"""Document 004's data models, as views of the log."""

from podium.store.postgres.migrations import execute_file

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the views."""
    execute_file("0002_the_models_of_004.up.sql")


def downgrade() -> None:
    """Drop them; nothing is lost."""
    execute_file("0002_the_models_of_004.down.sql")
