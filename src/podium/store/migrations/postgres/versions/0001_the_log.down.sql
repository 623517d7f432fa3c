-- Takes everything of 0001 away: the log too. Nothing can be run without it.

DROP FUNCTION podium_finish_upgrade_1, podium_leave_1, podium_release_1, podium_claim_1, podium_renew_1, podium_join_1,
    podium_lives_1, podium_cluster_1, podium_replace_model_1, podium_put_model_1, podium_put_snapshot_1, podium_take_1, podium_append_1,
    podium_put_1, podium_post_1, podium_now_us;
DROP TABLE attempt_logs, meta, definitions, tenants, replicas, models, cursors, counters, snapshots, blobs, inbox,
    shards, executions, log;
