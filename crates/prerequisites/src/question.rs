//! What is asked of the server: queries without parameters, whose columns are all text.
//!
//! They expect a `search_path` of `pg_catalog`, and need no more rights than a member of pg_monitor has.

use crate::facts::Who;

/// The rows of a question.
pub type Answer = Vec<Vec<Option<String>>>;

/// One query.
pub struct Question {
    pub sql: &'static str,
    pub columns: usize,
    /// Whether the session may ask it.
    pub may_ask: fn(&Who) -> bool,
}

fn always(_: &Who) -> bool {
    true
}

/// Who asks, and where; the first question, by the rights of the caller.
pub const WHO: Question = Question {
    sql: "SELECT current_database()::text, current_user::text, rolsuper::text, \
            (rolsuper OR (pg_has_role('pg_read_all_settings', 'USAGE') AND pg_has_role('pg_read_all_stats', 'USAGE')))::text, \
            pg_is_in_recovery()::text, \
            (has_table_privilege('pg_file_settings', 'SELECT') \
                AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE'))::text, \
            getdatabaseencoding()::text, current_setting('server_version_num') \
        FROM pg_roles WHERE rolname = current_user",
    columns: 8,
    may_ask: always,
};

/// The others; their answers go to [`crate::Facts::new`] in this order, an empty one for each that was not asked.
pub const QUESTIONS: [Question; 10] = [
    SETTINGS,
    FILE_SETTINGS,
    SLOTS,
    WORKERS,
    EXTENSION,
    KEYLESS,
    PREPARED,
    TRANSACTIONS,
    DATABASES,
    STANDBYS,
];

/// pg_settings has no setting of a library that is not loaded; current_setting() has its text. One that the role must not
/// see would be an error.
const SETTINGS: Question = Question {
    sql: "SELECT name, CASE WHEN seen.all_of_them OR s.name IS NOT NULL THEN current_setting(name, true) END, \
            s.setting, coalesce(s.pending_restart, false)::text, (s.source IS NOT DISTINCT FROM 'command line')::text \
        FROM unnest('{wal_level, shared_preload_libraries, max_replication_slots, max_wal_senders, max_worker_processes, \
            max_parallel_workers, cluster_name, data_directory, output_plugin_libraries, max_slot_wal_keep_size, hot_standby_feedback, \
            sync_replication_slots, synchronized_standby_slots, primary_slot_name, primary_conninfo, pg_incrbackup.failover, \
            track_commit_timestamp, pg_incrbackup.directory, pg_incrbackup.plugin, pg_incrbackup.replica_identity, \
            pg_incrbackup.max_databases, pg_incrbackup.base_schedule, pg_incrbackup.drill_schedule, \
            pg_incrbackup.keep_incremental, pg_incrbackup.archive_command, pg_incrbackup.compression, \
            pg_incrbackup.lag_emergency, pg_incrbackup.databases, pg_incrbackup.base_workers}'::text[]) AS wanted (name) \
          LEFT JOIN pg_settings AS s USING (name) \
          CROSS JOIN (SELECT rolsuper OR pg_has_role('pg_read_all_settings', 'USAGE') FROM pg_roles \
            WHERE rolname = current_user) AS seen (all_of_them)",
    columns: 5,
    may_ask: always,
};

/// What is written in the files, whether it is in effect or not: the last line of a setting counts.
const FILE_SETTINGS: Question = Question {
    sql: "SELECT name, setting FROM pg_file_settings WHERE name IS NOT NULL AND setting IS NOT NULL ORDER BY seqno",
    columns: 2,
    may_ask: |who| who.sees_files,
};

/// Slots in use, those of them that mark a database as backed up, databases that could be, this one's OID, and the slot with
/// the name of this one's. One without a confirmed position is being created: it is not persistent yet.
const SLOTS: Question = Question {
    sql: "SELECT (SELECT count(*) FROM pg_replication_slots)::text, \
            (SELECT count(*) FROM pg_replication_slots AS r JOIN pg_database AS b \
              ON b.datname = r.database AND r.slot_name = 'pg_incrbackup_' || b.oid \
              WHERE NOT r.temporary AND r.confirmed_flush_lsn IS NOT NULL)::text, \
            (SELECT count(*) FROM pg_database WHERE datallowconn AND NOT datistemplate)::text, \
            d.oid::text, s.slot_name::text, s.slot_type, (s.database = d.datname)::text, s.temporary::text, s.plugin::text, \
            (s.active AND s.confirmed_flush_lsn IS NULL)::text, s.wal_status \
        FROM pg_database AS d LEFT JOIN pg_replication_slots AS s ON s.slot_name = 'pg_incrbackup_' || d.oid \
        WHERE d.datname = current_database()",
    columns: 11,
    may_ask: always,
};

/// Background workers of others. Those of parallel queries come and go, and a query does without.
const WORKERS: Question = Question {
    sql: "SELECT count(*)::text FROM pg_stat_activity WHERE backend_type <> ALL ('{client backend, autovacuum launcher, \
            autovacuum worker, background writer, checkpointer, startup, walreceiver, walsender, walwriter, archiver, \
            logger, standalone backend, slotsync worker, walsummarizer, io worker, parallel worker}'::text[]) \
          AND backend_type NOT LIKE 'pg\\_incrbackup%'",
    columns: 1,
    may_ask: always,
};

const EXTENSION: Question = Question {
    sql: "SELECT default_version, installed_version FROM pg_available_extensions WHERE name = 'pg_incrbackup'",
    columns: 2,
    may_ask: always,
};

/// As the extension's own check words it (RelationGetIndexList of relcache.c): UPDATE and DELETE of these tables have no
/// old row in the WAL. The second column counts all of them.
const KEYLESS: Question = Question {
    sql: "SELECT format('%I.%I', nspname, relname), (count(*) OVER ())::text FROM pg_class AS c \
        JOIN pg_namespace AS n ON n.oid = relnamespace \
        WHERE relkind = 'r' AND relpersistence = 'p' AND c.oid >= 16384 AND relreplident <> 'f' \
        AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indislive AND indisvalid AND indimmediate \
            AND CASE relreplident WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident END) \
        AND NOT EXISTS (SELECT FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = refobjid \
            WHERE classid = 'pg_class'::regclass AND objid = c.oid AND refclassid = 'pg_extension'::regclass \
            AND deptype = 'e' AND extname = 'pg_incrbackup') ORDER BY 1 LIMIT 5",
    columns: 2,
    may_ask: always,
};

/// The creation of a slot waits for them, and so does the first base.
const PREPARED: Question = Question {
    sql: "SELECT quote_literal(gid), prepared::text, (count(*) OVER ())::text FROM pg_prepared_xacts ORDER BY prepared LIMIT 1",
    columns: 3,
    may_ask: always,
};

/// Transactions that have written and are open for more than five seconds.
const TRANSACTIONS: Question = Question {
    sql: "SELECT pid::text, coalesce(datname::text, ''), xact_start::text, (count(*) OVER ())::text FROM pg_stat_activity \
        WHERE backend_xid IS NOT NULL AND xact_start < clock_timestamp() - interval '5 seconds' \
          AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 1",
    columns: 4,
    may_ask: always,
};

/// Databases: the bytes of each name in hexadecimal digits, because it may be in any encoding; whether it has a slot that
/// marks it as backed up; its limit of connections.
const DATABASES: Question = Question {
    sql: "SELECT (SELECT string_agg(lpad(to_hex(d.datname[i]::integer & 255), 2, '0'), '' ORDER BY i) \
              FROM generate_series(0, octet_length(d.datname::text) - 1) AS i), \
            EXISTS (SELECT FROM pg_replication_slots AS r WHERE r.slot_name = 'pg_incrbackup_' || d.oid \
              AND r.database = d.datname AND NOT r.temporary AND r.confirmed_flush_lsn IS NOT NULL)::text, \
            d.datconnlimit::text, (d.datname = current_database())::text \
        FROM pg_database AS d WHERE d.datallowconn AND d.datname <> ALL ('{template0, template1}'::name[])",
    columns: 4,
    may_ask: always,
};

/// Standbys that are connected, and their slots: one that nobody uses would hold up capture. Subscribers and programs that
/// copy are none.
const STANDBYS: Question = Question {
    sql: "WITH standbys AS (SELECT r.pid FROM pg_stat_replication AS r WHERE application_name <> ALL \
              ('{pg_basebackup, pg_receivewal, pg_recvlogical, barman_receive_wal, barman_streaming_backup}'::text[])) \
        SELECT (SELECT count(*) FROM standbys AS r WHERE NOT EXISTS \
                (SELECT FROM pg_replication_slots WHERE active_pid = r.pid AND slot_type = 'logical'))::text, \
            (SELECT string_agg(slot_name::text, ', ' ORDER BY slot_name) FROM pg_replication_slots AS s \
              JOIN standbys AS r ON r.pid = s.active_pid WHERE slot_type = 'physical' AND NOT temporary)",
    columns: 2,
    may_ask: always,
};
