-- pgbench's own tables, and its transactions first. The publication is for a native subscription.
CREATE PUBLICATION reference FOR TABLE pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history;
-- changes
INSERT INTO pgbench_history SELECT 1, 1, i, 0, now() FROM generate_series(1, 500000) i;
UPDATE pgbench_accounts SET abalance = 1 WHERE aid <= 100000;
DELETE FROM pgbench_accounts WHERE aid > 950000;
