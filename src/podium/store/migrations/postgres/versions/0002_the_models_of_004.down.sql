-- The views go; what they show stays where it is.

DROP VIEW checkpoints, execution_events, workflow_executions, workflow_definitions, workflow_versions;
DROP FUNCTION podium_current_phase, podium_allocated_agents, podium_task_states, podium_at, podium_events, podium_json;
