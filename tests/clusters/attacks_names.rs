//! "A name, a comment or a value of the source becomes SQL, or a command, of its own at restore."

use harness::Cluster;
use std::path::PathBuf;

/// What must not come about: a file that `\!` would touch, a table that the payload would create.
struct Canary {
    file: PathBuf,
    payloads: Vec<String>,
}

impl Canary {
    fn of(c: &Cluster) -> Self {
        let file = c.root().join("C");
        let touch = format!("\\! touch {}", file.display());
        let canary = "CREATE TABLE public.canary();";
        let payloads = [
            format!("\n{touch}\n"),
            format!("\r\n{touch}\r\n--"),
            format!("\\.\n{touch}"),
            format!("\";\n{touch}\n\""),
            format!("';{canary}--"),
            format!("\";{canary}--"),
            format!("\n;{canary}\nCOMMIT;{canary}"),
            format!("$$;{canary}$$ $quiet$ $loud$"),
            format!("*/{canary}/*--\n{canary}"),
            format!("\n{canary}\n-- @0000000000000000"),
            "\n\\unrestrict 0000000000000000\n\\i /etc/passwd\n".into(),
            "%s %I %L & \\& \\\\ \\1 $1 `id` $(id) *".into(),
            ":dbname :'dbname' :\"dbname\" :DBNAME {:?dbname}".into(),
            "U&'\\0027' E'\\'' \\' '' \"\" \\".into(),
            "\u{2028}\u{85}\u{feff}\u{202e}a\u{1b}[2J\u{7f}\u{1}".into(),
            format!("{}\u{e9}{}", "a".repeat(60), "b"),
            format!("{}\u{1f600}x", "\n".repeat(58)),
            " FROM stdin;".into(),
            "COPY x FROM stdin;".into(),
            "BEGIN ATOMIC; SELECT 1; END;".into(),
        ];
        Self {
            file,
            payloads: payloads.into(),
        }
    }

    /// Each statement for each payload, `NAME` as an identifier and `TEXT` as a literal.
    fn plant(&self, c: &Cluster, statements: &[&str]) -> String {
        let mut sql = String::new();
        for (number, payload) in self.payloads.iter().enumerate() {
            // A number in front keeps names apart that PostgreSQL cuts to 63 bytes.
            let name = format!("{number}{payload}");
            let identifier = format!("\"{}\"", name.replace('"', "\"\""));
            let literal = format!("'{}'", payload.replace('\'', "''"));
            for statement in statements {
                let statement = statement
                    .replace("NAME", &identifier)
                    .replace("TEXT", &literal)
                    .replace("NUMBER", &number.to_string());
                sql.push_str(&statement);
                sql.push_str(";\n");
            }
        }
        c.sql(&sql);
        sql
    }

    fn assert_dead(&self, c: &Cluster) {
        assert!(!self.file.exists(), "a payload ran as a command");
        let databases = c.sql(
            "SELECT datname FROM pg_database WHERE datallowconn AND datname ~ '^(app|restored)'",
        );
        for database in databases.lines() {
            let found = c.sql_in(
                database,
                "SELECT count(*) FROM pg_class WHERE relname = 'canary'",
            );
            assert_eq!(found, "0", "a payload made a table in {database}");
        }
    }
}

/// Restores the archive as it is, and again after a base that holds the names.
fn restore_from_increments_and_base(c: &Cluster, canary: &Canary) {
    c.assert_restores();
    canary.assert_dead(c);
    c.sql("SELECT incr_dump()");
    c.assert_restores();
    canary.assert_dead(c);
}

#[test]
fn no_name_of_a_table_or_of_what_hangs_on_it_runs() {
    let c = Cluster::backed_up();
    let canary = Canary::of(&c);
    canary.plant(
        &c,
        &[
            "CREATE SCHEMA NAME",
            "CREATE TABLE NAME.NAME (NAME int PRIMARY KEY, t text DEFAULT TEXT, CONSTRAINT NAME CHECK (t <> TEXT || 'x'))",
            "CREATE INDEX NAME ON NAME.NAME (t) WHERE t = TEXT",
            "INSERT INTO NAME.NAME VALUES (1, TEXT), (2, DEFAULT)",
            "UPDATE NAME.NAME SET t = TEXT || 'y', NAME = 3 WHERE NAME = 2",
            "DELETE FROM NAME.NAME WHERE NAME = 1",
            "INSERT INTO NAME.NAME SELECT g, TEXT FROM generate_series(10, 60) AS g",
            "COMMENT ON TABLE NAME.NAME IS TEXT",
            "COMMENT ON COLUMN NAME.NAME.NAME IS TEXT",
            "CREATE SEQUENCE NAME.\"sequence of NUMBER\"",
            "CREATE VIEW NAME.\"view NUMBER\" AS SELECT NAME, TEXT AS t FROM NAME.NAME",
            "CREATE RULE NAME AS ON INSERT TO NAME.\"view NUMBER\" DO INSTEAD NOTHING",
            "ALTER TABLE NAME.NAME ADD COLUMN added text DEFAULT TEXT",
            "ALTER TABLE NAME.NAME RENAME COLUMN added TO \"renamed\"",
            "TRUNCATE NAME.NAME",
            "INSERT INTO NAME.NAME VALUES (7, TEXT, TEXT)",
        ],
    );
    restore_from_increments_and_base(&c, &canary);
}

#[test]
fn no_name_of_a_type_a_function_or_a_trigger_runs() {
    let c = Cluster::backed_up();
    let canary = Canary::of(&c);
    canary.plant(
        &c,
        &[
            "CREATE SCHEMA NAME",
            "CREATE TYPE NAME.\"labels\" AS ENUM (E'x', 'a')",
            "CREATE TYPE NAME.NAME AS (NAME int)",
            "CREATE DOMAIN NAME.\"domain\" AS text DEFAULT TEXT CONSTRAINT NAME CHECK (VALUE <> TEXT || 'z')",
            "CREATE FUNCTION NAME.NAME(NAME text DEFAULT TEXT) RETURNS text LANGUAGE sql SET application_name = TEXT AS TEXT",
            "CREATE FUNCTION NAME.atomic() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT TEXT AS NAME; END",
            "CREATE TABLE NAME.holder (l NAME.labels, c NAME.NAME, d NAME.\"domain\")",
            "CREATE FUNCTION NAME.fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER NAME BEFORE INSERT ON NAME.holder FOR EACH ROW EXECUTE FUNCTION NAME.fired(TEXT)",
            "CREATE POLICY NAME ON NAME.holder USING (d <> TEXT)",
            "INSERT INTO NAME.holder VALUES ('a', ROW(1), TEXT)",
            "UPDATE NAME.holder SET c = ROW(2)",
            "COMMENT ON FUNCTION NAME.NAME(text) IS TEXT",
            "CREATE PUBLICATION NAME FOR TABLE NAME.holder",
            "CREATE STATISTICS NAME.NAME ON l, d FROM NAME.holder",
            "CREATE OPERATOR NAME.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)",
            "CREATE COLLATION NAME.NAME FROM \"C\"",
            "CREATE FOREIGN DATA WRAPPER NAME",
            "CREATE SERVER NAME TYPE TEXT FOREIGN DATA WRAPPER NAME OPTIONS (host TEXT)",
            "ALTER SCHEMA NAME RENAME TO \"schema NUMBER\"",
        ],
    );
    restore_from_increments_and_base(&c, &canary);
}

#[test]
fn no_label_and_no_value_runs() {
    let c = Cluster::backed_up();
    let canary = Canary::of(&c);
    canary.plant(
        &c,
        &[
            "CREATE TYPE e_NUMBER AS ENUM ()",
            "ALTER TYPE e_NUMBER ADD VALUE NAME_LABEL",
            "CREATE TABLE v_NUMBER (k text PRIMARY KEY, e e_NUMBER, j json, x text[], c \"char\", b bytea)",
            "INSERT INTO v_NUMBER VALUES (TEXT, NULL, to_json(TEXT::text), ARRAY[TEXT], '\\', convert_to(TEXT, 'UTF8'))",
            "UPDATE v_NUMBER SET x = x || TEXT WHERE k = TEXT",
            "SELECT lo_from_bytea(0, convert_to(TEXT, 'UTF8'))",
        ]
        .map(|statement| statement.replace("NAME_LABEL", "'NUMBER'"))
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>(),
    );
    // Labels hold no more than 63 bytes, and are not cut.
    for (number, payload) in canary.payloads.iter().enumerate() {
        let label = payload.replace('\'', "''");
        if payload.len() < 64 {
            c.sql(&format!("ALTER TYPE e_{number} ADD VALUE '{label}'"));
            c.sql(&format!("UPDATE v_{number} SET e = '{label}'; INSERT INTO v_{number} SELECT g, '{label}' FROM generate_series(1, 40) AS g"));
        }
    }
    restore_from_increments_and_base(&c, &canary);
}

#[test]
fn no_name_of_a_role_runs_or_raises_a_role() {
    let c = Cluster::builder().own_system_identifier().back_up();
    let canary = Canary::of(&c);
    canary.plant(
        &c,
        &[
            "CREATE ROLE NAME",
            "CREATE ROLE \"member NUMBER\" IN ROLE NAME",
            "COMMENT ON ROLE NAME IS TEXT",
            "GRANT CREATE ON SCHEMA public TO NAME",
            "SET ROLE NAME",
            "CREATE TABLE \"of role NUMBER\" (a int)",
            "RESET ROLE",
            "GRANT SELECT ON \"of role NUMBER\" TO \"member NUMBER\"",
            "ALTER ROLE NAME SET application_name = TEXT",
        ],
    );
    let target = Cluster::builder()
        .without("shared_preload_libraries")
        .start();
    let names = "SELECT md5(string_agg(rolname, ',' ORDER BY rolname COLLATE \"C\")) FROM pg_roles WHERE rolname !~ '^pg_'";
    c.assert_restores_into(&target);
    canary.assert_dead(&target);
    assert_eq!(c.sql(names), target.sql_in("postgres", names));
    // And once more, where the roles are there already.
    c.assert_restores_into(&target);
    c.sql("SELECT incr_dump()");
    let globals = Cluster::builder()
        .without("shared_preload_libraries")
        .start();
    c.restore_into(&globals, &["--globals"]);
    canary.assert_dead(&globals);
    assert_eq!(c.sql(names), globals.sql_in("postgres", names));
}

#[test]
fn a_role_that_may_create_roles_makes_no_superuser_of_a_restore() {
    let c = Cluster::builder().own_system_identifier().back_up();
    c.sql("CREATE ROLE mallory LOGIN CREATEROLE; GRANT CREATE ON SCHEMA public TO mallory");
    c.sql(
        "SET ROLE mallory; CREATE TABLE mine (a int);
         CREATE ROLE \"x\nALTER ROLE mallory WITH SUPERUSER \";
         CREATE ROLE \"y\nCREATE ROLE made_up;\n\";
         CREATE ROLE \"z\nGRANT postgres TO mallory;\n\"",
    );
    c.sql("SELECT incr_dump()");
    let target = Cluster::builder()
        .without("shared_preload_libraries")
        .start();
    for options in [&[][..], &["--globals"][..]] {
        c.flush();
        c.restore_into(&target, options);
        let facts = "SELECT rolsuper, pg_has_role('mallory', 'postgres', 'MEMBER'),
            (SELECT count(*) FROM pg_roles WHERE rolname = 'made_up') FROM pg_roles WHERE rolname = 'mallory'";
        assert_eq!(target.sql_in("postgres", facts), "f|f|0", "{options:?}");
    }
}

#[test]
fn no_name_of_a_tablespace_runs() {
    let c = Cluster::builder().own_system_identifier().back_up();
    let canary = Canary::of(&c);
    c.sql("ALTER SYSTEM SET allow_in_place_tablespaces = on; SELECT pg_reload_conf()");
    canary.plant(
        &c,
        &[
            "SET allow_in_place_tablespaces = on",
            "CREATE TABLESPACE NAME LOCATION ''",
            "COMMENT ON TABLESPACE NAME IS TEXT",
            "CREATE TABLE \"in space NUMBER\" (a int) TABLESPACE NAME",
            "CREATE TABLESPACE \"passing\nNUMBER\" LOCATION ''",
            "CREATE TABLE passing (a int) TABLESPACE \"passing\nNUMBER\"",
            "DROP TABLE passing",
            "DROP TABLESPACE \"passing\nNUMBER\"",
        ],
    );
    let names =
        "SELECT md5(string_agg(spcname, ',' ORDER BY spcname COLLATE \"C\")) FROM pg_tablespace";
    for _ in 0..2 {
        let target = Cluster::builder()
            .without("shared_preload_libraries")
            .start();
        c.assert_restores_into(&target);
        canary.assert_dead(&target);
        assert_eq!(c.sql(names), target.sql_in("postgres", names));
        c.sql("SELECT incr_dump()");
    }
}

#[test]
fn no_name_of_a_database_runs_or_leaves_the_archive() {
    for name in [
        "..",
        ".",
        "../../etc",
        "/etc/passwd",
        "%2e%2e",
        "a\nb\\! touch x",
        "chain-1",
        "-rf",
        "a'b\"c$(id)`id`:x%s*",
        &"\u{e9}".repeat(31),
    ] {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let c = Cluster::builder().start();
        c.sql_in("postgres", &format!("CREATE DATABASE {quoted}"));
        c.sql_in(name, "CREATE EXTENSION pg_incrbackup");
        c.sql_in(name, "SELECT * FROM incr_setup()");
        c.sql_in(
            name,
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1); COMMENT ON TABLE t IS ''",
        );
        c.sql_in(name, "SELECT incr_flush()");
        let listing = std::fs::read_dir(c.archive_directory()).expect("the archive is there");
        let made: Vec<_> = listing.flatten().map(|entry| entry.path()).collect();
        assert_eq!(made.len(), 1, "{name:?}: {made:?}");
        let mut command = c.installation().command("sh");
        command.arg(made[0].join("restore.sh"));
        let output = command
            .args(["--target", &c.conninfo("restored")])
            .output()
            .expect("sh can be run");
        assert!(
            output.status.success(),
            "{name:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(c.sql_in("restored", "SELECT a FROM t"), "1");
        // Nothing beside the archive but what the harness put there.
        let mut beside: Vec<_> = std::fs::read_dir(c.root())
            .expect("the root is there")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with(".s.PGSQL"))
            .collect();
        beside.sort();
        assert_eq!(beside, ["archive", "data", "log"], "{name:?}");
    }
}
