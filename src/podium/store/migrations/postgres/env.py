"""What alembic runs. It only writes SQL (its offline mode); `podium.store.postgres.migrations` executes it."""

from alembic import context

context.configure(dialect_name="postgresql", dialect_opts={"paramstyle": "named"}, transactional_ddl=False)
context.run_migrations()
