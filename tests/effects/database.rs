//! The database itself: owner, privileges, settings, comment.

use crate::follow::Pair;

const FACTS: &str = "SELECT pg_get_userbyid(d.datdba), d.datconnlimit, d.datacl, shobj_description(d.oid, 'pg_database'),
    (SELECT array_agg((s.setrole::regrole, s.setconfig)::text ORDER BY s.setrole::regrole::text) FROM pg_db_role_setting s
     WHERE s.setdatabase = d.oid) FROM pg_database d WHERE datname = current_database()";

#[test]
fn a_database() {
    let mut pair = Pair::new();
    let statements = [
        "ALTER DATABASE source SET work_mem = '5MB'; ALTER DATABASE source SET search_path = 'a\"b', \"$user\", public, ''''",
        "ALTER ROLE alice IN DATABASE source SET work_mem = '6MB'; ALTER ROLE \"Odd role\" IN DATABASE source SET TimeZone = 'UTC'",
        "ALTER DATABASE source RESET work_mem; ALTER DATABASE source SET app.\"Odd\" = E'100 % of \\'it\\'\\n%I'",
        "COMMENT ON DATABASE source IS E'it''s\\n%I \\\\ $do$'; ALTER DATABASE source CONNECTION LIMIT 7",
        "GRANT CREATE ON DATABASE source TO alice WITH GRANT OPTION; REVOKE ALL ON DATABASE source FROM PUBLIC",
        "SET ROLE alice; GRANT CREATE ON DATABASE source TO bob; RESET ROLE",
        "ALTER DATABASE source OWNER TO \"Odd role\"",
        "REVOKE CREATE ON DATABASE source FROM alice CASCADE; GRANT CONNECT, TEMPORARY ON DATABASE source TO PUBLIC",
        "ALTER DATABASE source RESET ALL; ALTER ROLE alice IN DATABASE source RESET ALL; COMMENT ON DATABASE source IS NULL",
        "REASSIGN OWNED BY \"Odd role\" TO bob; ALTER DATABASE source CONNECTION LIMIT -1; ALTER DATABASE source ALLOW_CONNECTIONS true",
        "ALTER ROLE alice SET work_mem = '9MB'; COMMENT ON DATABASE target IS NULL",
    ];
    for statement in statements {
        pair.follow(&[statement]);
        pair.assert_same_result(FACTS, statement);
    }
}
