//! "A table that is named like your extension, or a view over your functions, breaks my base backup."

use harness::{assert_identical, Cluster};

/// Everything that somebody may hang on our functions and tables, and what looks like it.
const HANGERS_ON: &str = "
    CREATE ROLE monitor;
    CREATE VIEW backup_health AS SELECT level, reasons FROM incr_slot_health();
    CREATE VIEW ddl_report AS SELECT * FROM ddl_history;
    CREATE VIEW over_report AS SELECT count(*) AS n FROM ddl_report;
    GRANT SELECT ON over_report TO monitor;
    COMMENT ON VIEW over_report IS 'how many';
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM ddl_history;
    CREATE FUNCTION rows_of_history() RETURNS SETOF ddl_history LANGUAGE sql AS 'SELECT * FROM ddl_history';
    CREATE FUNCTION atomic() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM ddl_history; END;
    CREATE TABLE kept (id int PRIMARY KEY, note text);
    CREATE PUBLICATION mixed FOR TABLE ddl_history, kept;
    CREATE POLICY checked ON kept USING ((SELECT count(*) FROM ddl_history) >= 0);
    CREATE RULE noted AS ON DELETE TO kept DO ALSO SELECT count(*) FROM ddl_history;
    CREATE INDEX of_mine ON ddl_history (executed_at);
    CREATE FUNCTION by_text() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM ddl_history); END';
    GRANT EXECUTE ON FUNCTION incr_flush(interval) TO monitor;
    GRANT SELECT ON ddl_history TO monitor;
    GRANT SELECT (id) ON ddl_history TO monitor;
    INSERT INTO kept VALUES (1, 'one')";

const LEFT_OUT: [&str; 8] = [
    "function public.atomic()",
    "function public.rows_of_history()",
    "materialized view public.counted",
    "policy checked on public.kept",
    "rule noted on public.kept",
    "view public.backup_health",
    "view public.ddl_report",
    "view public.over_report",
];

#[test]
fn what_needs_our_extension_is_left_out_and_named_in_every_format() {
    let c = Cluster::backed_up();
    c.sql(HANGERS_ON);
    for format in ["plain", "compressed", "directory"] {
        c.set("pg_incrbackup.base_format", format);
        c.sql("SELECT incr_dump()");
        let base = c.bases().pop().expect("a base was made");
        assert!(!base.join("dump.custom").exists(), "{format}");
        let restored = c.restore(&[]);
        for name in LEFT_OUT {
            assert!(
                restored.output.contains(&format!("    {name}\n")),
                "{format}: {name} in {}",
                restored.output
            );
        }
        let there = |query: &str| c.sql_in(&restored.database, query);
        assert_eq!(there("SELECT * FROM kept"), "1|one", "{format}");
        assert_eq!(
            there("SELECT tablename FROM pg_publication_tables"),
            "kept",
            "{format}"
        );
        assert_eq!(
            there("SELECT count(*) FROM pg_proc WHERE proname = 'by_text'"),
            "1",
            "{format}"
        );
        assert_eq!(
            there("SELECT count(*) FROM pg_class WHERE relname ~ 'ddl_|backup_health|over_report|counted|of_mine'"),
            "0",
            "{format}"
        );
        assert_eq!(c.sql("SELECT * FROM incr_verify()"), "", "{format}");
        // The definitions are there for whoever installs the extension again.
        let definitions = std::fs::read_to_string(base.join("left-out.sql")).expect("it is there");
        for word in [
            "\"over_report\"",
            "'how many'",
            "\"monitor\"",
            "\"checked\"",
        ] {
            assert!(definitions.contains(word), "{format}: {word}");
        }
        c.sql_in(&restored.database, "CREATE EXTENSION pg_incrbackup");
        c.sql_in(&restored.database, &without_meta_commands(&definitions));
        assert_eq!(
            there("SELECT count(*) FROM pg_class WHERE relname = 'over_report'"),
            "1",
            "{format}"
        );
    }
}

fn without_meta_commands(script: &str) -> String {
    let lines = script.lines().filter(|line| !line.starts_with('\\'));
    lines.collect::<Vec<_>>().join("\n")
}

/// Parts of tables and domains, which pg_dump writes inside of their definitions.
const PARTS: &str = "
    CREATE SCHEMA own; CREATE DOMAIN own.mood AS text CHECK (VALUE <> 'x');
    CREATE FUNCTION own.\"begin\"(own.mood DEFAULT 'ok') RETURNS text
      BEGIN ATOMIC SELECT level FROM incr_slot_health(); END;
    CREATE DOMAIN own.level AS text CONSTRAINT known CHECK (VALUE <> own.\"begin\"() || 'x') CHECK (VALUE <> 'y');
    CREATE TABLE own.t (a int PRIMARY KEY, l pg_lsn DEFAULT incr_flush(), b text DEFAULT lower('X'),
      v own.level DEFAULT 'v', CONSTRAINT c CHECK (own.\"begin\"() IS NOT NULL), CONSTRAINT positive CHECK (a > 0));
    CREATE TABLE child () INHERITS (own.t);
    INSERT INTO own.t VALUES (1); INSERT INTO child VALUES (2)";

#[test]
fn defaults_and_checks_over_ours_are_left_out_and_their_tables_stay() {
    let c = Cluster::backed_up();
    c.sql(PARTS);
    let mut restored = Vec::new();
    for format in ["plain", "compressed", "directory"] {
        c.set("pg_incrbackup.base_format", format);
        c.sql("SELECT incr_dump()");
        restored.push(c.restore(&[]));
        let base = c.bases().pop().expect("a base was made");
        let definitions = std::fs::read_to_string(base.join("left-out.sql")).expect("it is there");
        assert!(
            definitions.contains("ALTER COLUMN l SET DEFAULT public.incr_flush()"),
            "{definitions}"
        );
        assert!(
            definitions.contains("ADD CONSTRAINT c CHECK"),
            "{definitions}"
        );
        assert_eq!(c.sql("SELECT * FROM incr_verify()"), "", "{format}");
    }
    c.sql(
        "ALTER TABLE own.t ALTER l DROP DEFAULT; ALTER TABLE child ALTER l DROP DEFAULT;
         DROP FUNCTION own.\"begin\"(own.mood) CASCADE",
    );
    for one in &restored {
        assert_identical((&c, c.database()), (&c, &one.database));
        for name in [
            "default value for own.t.l",
            "table constraint c on own.t",
            "domain constraint known on own.level",
            "function own.begin(own.mood)",
        ] {
            assert!(
                one.output.contains(&format!("    {name}\n")),
                "{name}: {}",
                one.output
            );
        }
    }
}

/// The owner of a domain or of a function must not make somebody else's rows vanish from bases.
#[test]
fn nobodys_rows_go_with_a_default_of_a_domain_or_a_function_of_somebody_else() {
    let c = Cluster::backed_up();
    c.sql(
        "CREATE DOMAIN email AS text; CREATE TABLE orders (id int PRIMARY KEY, mail email);
         CREATE TABLE lines (o int REFERENCES orders); INSERT INTO orders VALUES (1, 'a@b'); INSERT INTO lines VALUES (1);
         CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql RETURN $1;
         CREATE TABLE computed (id int PRIMARY KEY, v int GENERATED ALWAYS AS (f(id)) STORED);
         INSERT INTO computed VALUES (7)",
    );
    c.sql("ALTER DOMAIN email SET DEFAULT incr_rotate();
           CREATE OR REPLACE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql RETURN $1 + length(incr_report())");
    c.sql("SELECT incr_dump()");
    let restored = c.restore(&[]);
    let rows =
        "SELECT id, mail, o, (SELECT id FROM computed) FROM orders JOIN lines ON o = orders.id";
    assert_eq!(c.sql_in(&restored.database, rows), "1|a@b|1|7");
    for name in [
        "default value for domain public.email",
        "default value for public.computed.v",
    ] {
        assert!(
            restored.output.contains(name),
            "{name}: {}",
            restored.output
        );
    }
}

#[test]
fn a_base_without_hangers_on_has_no_list() {
    let c = Cluster::backed_up();
    c.sql("CREATE TABLE t (a int PRIMARY KEY)");
    c.sql("SELECT incr_dump()");
    let base = c.bases().pop().expect("a base was made");
    assert!(!base.join("left-out.sql").exists());
    let restored = c.assert_restores();
    assert!(!restored.output.contains("left out"), "{}", restored.output);
}

/// Names and rows that look like what pg_dump writes about an entry.
const POSERS: &str = "
    CREATE ROLE attacker;
    CREATE TABLE \"pg_incrbackup; Type: EXTENSION; x\" (a int PRIMARY KEY);
    INSERT INTO \"pg_incrbackup; Type: EXTENSION; x\" VALUES (1);
    CREATE TABLE \"EXTENSION pg_incrbackup; Type: COMMENT; x\" (a int PRIMARY KEY);
    CREATE TABLE \"x
--
-- Name: pg_incrbackup; Type: EXTENSION; Schema: -; Owner: -
--

\" (a int PRIMARY KEY, \"
--
-- Name: TABLE ddl_history; Type: ACL; Schema: public; Owner: postgres
--

\" text);
    CREATE TABLE victim (a int PRIMARY KEY, secret text);
    INSERT INTO victim SELECT g, 'secret ' || g FROM generate_series(1, 3) AS g;
    CREATE TABLE attackers (a int PRIMARY KEY, t text);
    INSERT INTO attackers VALUES (1, E'\\n--\\n-- Name: pg_incrbackup; Type: EXTENSION; Schema: -; Owner: -\\n--\\n\\n'),
        (2, E'\\\\.\\n'), (3, '--'), (4, '-- Name: pg_incrbackup; Type: EXTENSION; Schema: -; Owner: -');
    CREATE FUNCTION incr_flush(text) RETURNS int LANGUAGE sql AS '
--
-- Name: pg_incrbackup; Type: EXTENSION; Schema: -; Owner: -
--

SELECT 1';
    GRANT EXECUTE ON FUNCTION incr_flush(text) TO attacker;
    COMMENT ON TABLE victim IS '
--
-- Data for Name: victim; Type: TABLE DATA; Schema: public; Owner: postgres
--

COPY public.attackers (a, t) FROM stdin;
9\tx
\\.';
    ALTER TABLE attackers OWNER TO attacker;
    CREATE ROLE \"r
--
-- Name: victim; Type: TABLE; Schema: public; Owner: postgres
--

\";
    ALTER TABLE victim OWNER TO \"r
--
-- Name: victim; Type: TABLE; Schema: public; Owner: postgres
--

\"";

#[test]
fn nothing_that_looks_like_an_entry_is_taken_for_one() {
    let c = Cluster::backed_up();
    c.sql(POSERS);
    for format in ["plain", "compressed", "directory"] {
        c.set("pg_incrbackup.base_format", format);
        c.sql("SELECT incr_dump()");
        c.assert_restores();
    }
}
