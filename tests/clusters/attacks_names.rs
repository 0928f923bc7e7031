//! "A name, a comment or a value of the source becomes SQL, or a command, of its own at restore."

use harness::{run, Cluster};
use std::path::{Path, PathBuf};

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

    /// Each statement for each payload, `{name}` as an identifier and `{text}` as a literal.
    fn plant(&self, c: &Cluster, statements: &[&str]) {
        let mut sql = String::new();
        for (number, payload) in self.payloads.iter().enumerate() {
            // A number in front keeps names apart that PostgreSQL cuts to 63 bytes.
            let name = format!("{number}{payload}");
            let identifier = format!("\"{}\"", name.replace('"', "\"\""));
            let literal = format!("'{}'", payload.replace('\'', "''"));
            let body = format!("'SELECT $body${}$body$::text'", payload.replace('\'', "''"));
            for statement in statements {
                let statement = statement
                    .replace("{body}", &body)
                    .replace("{name}", &identifier)
                    .replace("{text}", &literal)
                    .replace("{number}", &number.to_string());
                sql.push_str(&statement);
                sql.push_str(";\n");
            }
        }
        c.try_sql(&sql).unwrap_or_else(|e| panic!("{e}"));
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

/// Restores, and compares dumps as bags of lines: what a name's own lines look like says nothing about
/// the object that they belong to.
fn assert_restores(c: &Cluster, target: &Cluster, options: &[&str]) {
    c.flush();
    assert_eq!(c.sql("SELECT * FROM incr_verify()"), "");
    let restored = c.restore_by_program(target, options);
    let (here, there) = (dumped(c, c.database()), dumped(target, &restored.database));
    let only = |a: &[String], b: &[String]| {
        let lines = a.iter().filter(|line| !b.contains(line));
        lines.take(20).cloned().collect::<Vec<_>>()
    };
    assert_eq!(only(&here, &there), only(&there, &here), "left: source");
    assert_eq!(here.len(), there.len());
}

fn dumped(c: &Cluster, database: &str) -> Vec<String> {
    let mut command = c.installation().command("pg_dump");
    let dump = run(command.arg("-d").arg(c.conninfo(database))).stdout;
    let is_ours = |line: &&str| {
        line.contains("EXTENSION") && line.contains("pg_incrbackup")
            || line.starts_with("\\restrict ")
            || line.starts_with("\\unrestrict ")
            || line.starts_with("--")
            || line.starts_with("SET ")
    };
    let dump = String::from_utf8_lossy(&dump).into_owned();
    let mut lines: Vec<_> = dump
        .lines()
        .filter(|line| !is_ours(line))
        .map(str::to_owned)
        .collect();
    // Blank lines stand around comments.
    lines.retain(|line| !line.is_empty());
    lines.sort();
    lines
}

/// Restores the archive as it is, and again after a base that holds the names.
fn restore_from_increments_and_base(c: &Cluster, canary: &Canary) {
    assert_restores(c, c, &[]);
    canary.assert_dead(c);
    c.sql("SELECT incr_dump()");
    assert_restores(c, c, &[]);
    canary.assert_dead(c);
}

#[test]
fn no_name_of_a_table_or_of_what_hangs_on_it_runs() {
    let c = Cluster::backed_up();
    let canary = Canary::of(&c);
    canary.plant(
        &c,
        &[
            "CREATE SCHEMA {name}",
            "CREATE TABLE {name}.{name} ({name} int PRIMARY KEY, t text DEFAULT {text}, CONSTRAINT {name} CHECK (t <> {text} || 'x'))",
            "CREATE INDEX \"index of {number}\" ON {name}.{name} (t) WHERE t = {text}",
            "INSERT INTO {name}.{name} VALUES (1, {text}), (2, DEFAULT)",
            "UPDATE {name}.{name} SET t = {text} || 'y', {name} = 3 WHERE {name} = 2",
            "DELETE FROM {name}.{name} WHERE {name} = 1",
            "INSERT INTO {name}.{name} SELECT g, {text} FROM generate_series(10, 60) AS g",
            "COMMENT ON TABLE {name}.{name} IS {text}",
            "COMMENT ON COLUMN {name}.{name}.{name} IS {text}",
            "CREATE SEQUENCE {name}.\"sequence of {number}\"",
            "CREATE VIEW {name}.\"view {number}\" AS SELECT {name}, {text} AS t FROM {name}.{name}",
            "CREATE RULE {name} AS ON INSERT TO {name}.\"view {number}\" DO INSTEAD NOTHING",
            "ALTER TABLE {name}.{name} ADD COLUMN added text DEFAULT {text}",
            "ALTER TABLE {name}.{name} RENAME COLUMN added TO \"renamed\"",
            "TRUNCATE {name}.{name}",
            "INSERT INTO {name}.{name} VALUES (7, {text}, {text})",
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
            "CREATE SCHEMA {name}",
            "CREATE TYPE {name}.\"labels\" AS ENUM (E'x', 'a')",
            "CREATE TYPE {name}.{name} AS ({name} int)",
            "CREATE DOMAIN {name}.\"domain\" AS text DEFAULT {text} CONSTRAINT {name} CHECK (VALUE <> {text} || 'z')",
            "CREATE FUNCTION {name}.{name}({name} text DEFAULT {text}) RETURNS text LANGUAGE sql SET application_name = {text} AS {body}",
            "CREATE FUNCTION {name}.atomic() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT {text} AS {name}; END",
            "CREATE TABLE {name}.holder (l {name}.labels, c {name}.{name}, d {name}.\"domain\")",
            "CREATE FUNCTION {name}.fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER {name} BEFORE INSERT ON {name}.holder FOR EACH ROW EXECUTE FUNCTION {name}.fired({text})",
            "CREATE POLICY {name} ON {name}.holder USING (d <> {text})",
            "INSERT INTO {name}.holder VALUES ('a', ROW(1), {text})",
            "UPDATE {name}.holder SET c = ROW(2)",
            "COMMENT ON FUNCTION {name}.{name}(text) IS {text}",
            "CREATE PUBLICATION {name} FOR TABLE {name}.holder",
            "CREATE STATISTICS {name}.{name} ON l, d FROM {name}.holder",
            "CREATE OPERATOR {name}.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)",
            "CREATE COLLATION {name}.{name} FROM \"C\"",
            "CREATE FOREIGN DATA WRAPPER {name}",
            "CREATE SERVER {name} TYPE {text} FOREIGN DATA WRAPPER {name} OPTIONS (host {text})",
            "ALTER SCHEMA {name} RENAME TO \"schema {number}\"",
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
            "CREATE TYPE e_{number} AS ENUM ()",
            "ALTER TYPE e_{number} ADD VALUE NAME_LABEL",
            "CREATE TABLE v_{number} (k text PRIMARY KEY, e e_{number}, j json, x text[], c \"char\", b bytea)",
            "INSERT INTO v_{number} VALUES ({text}, NULL, to_json({text}::text), ARRAY[{text}], '\\', convert_to({text}, 'UTF8'))",
            "UPDATE v_{number} SET x = array_append(x, {text}) WHERE k = {text}",
            "SELECT lo_from_bytea(0, convert_to({text}, 'UTF8'))",
        ]
        .map(|statement| statement.replace("NAME_LABEL", "'{number}'"))
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
            "CREATE ROLE {name}",
            "CREATE ROLE \"member {number}\" IN ROLE {name}",
            "COMMENT ON ROLE {name} IS {text}",
            "GRANT CREATE ON SCHEMA public TO {name}",
            "SET ROLE {name}",
            "CREATE TABLE \"of role {number}\" (a int)",
            "RESET ROLE",
            "GRANT SELECT ON \"of role {number}\" TO \"member {number}\"",
            "ALTER ROLE {name} SET application_name = {text}",
        ],
    );
    let target = Cluster::builder()
        .without("shared_preload_libraries")
        .start();
    let names = "SELECT md5(string_agg(rolname, ',' ORDER BY rolname COLLATE \"C\")) FROM pg_roles WHERE rolname !~ '^pg_'";
    assert_restores(&c, &target, &[]);
    canary.assert_dead(&target);
    assert_eq!(c.sql(names), target.sql_in("postgres", names));
    // And once more, where the roles are there already.
    assert_restores(&c, &target, &[]);
    c.sql("SELECT incr_dump()");
    let globals = Cluster::builder()
        .without("shared_preload_libraries")
        .start();
    assert_restores(&c, &globals, &["--globals"]);
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
        c.restore_by_program(&target, options);
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
            "CREATE TABLESPACE {name} LOCATION ''",
            "COMMENT ON TABLESPACE {name} IS {text}",
            "CREATE TABLE \"in space {number}\" (a int) TABLESPACE {name}",
            "CREATE TABLESPACE \"passing\n{number}\" LOCATION ''",
            "CREATE TABLE passing (a int) TABLESPACE \"passing\n{number}\"",
            "DROP TABLE passing",
            "DROP TABLESPACE \"passing\n{number}\"",
        ],
    );
    let names =
        "SELECT md5(string_agg(spcname, ',' ORDER BY spcname COLLATE \"C\")) FROM pg_tablespace";
    for _ in 0..2 {
        let target = Cluster::builder()
            .without("shared_preload_libraries")
            .start();
        assert_restores(&c, &target, &[]);
        canary.assert_dead(&target);
        assert_eq!(c.sql(names), target.sql_in("postgres", names));
        c.sql("SELECT incr_dump()");
    }
}

#[test]
fn no_name_of_a_database_runs_or_leaves_the_archive() {
    let c = Cluster::builder().start();
    let listed = |directory: &Path| {
        let listing = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let names = listing.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| !name.starts_with(".s.PGSQL")).collect();
        names.sort();
        names
    };
    for (number, name) in [
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
    ]
    .into_iter()
    .enumerate()
    {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        c.sql_in("postgres", &format!("CREATE DATABASE {quoted}"));
        c.sql_in(name, "CREATE EXTENSION pg_incrbackup");
        let before = listed(&c.archive_directory());
        c.sql_in(name, "SELECT * FROM incr_setup()");
        c.sql_in(
            name,
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1); COMMENT ON TABLE t IS ''",
        );
        c.sql_in(name, "SELECT incr_flush()");
        let mut made = listed(&c.archive_directory());
        made.retain(|directory| !before.contains(directory));
        assert_eq!(made.len(), 1, "{name:?}: {made:?}");
        let mut command = c.installation().command("sh");
        command.arg(c.archive_directory().join(&made[0]).join("restore.sh"));
        let restored = format!("restored_{number}");
        let output = command
            .args(["--target", &c.conninfo(&restored)])
            .output()
            .expect("sh can be run");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name:?}: {errors}");
        assert_eq!(c.sql_in(&restored, "SELECT a FROM t"), "1");
        // Nothing beside the archive but what the harness put there.
        assert_eq!(listed(c.root()), ["archive", "data", "log"], "{name:?}");
        c.sql_in(name, "SELECT incr_teardown()");
    }
}
