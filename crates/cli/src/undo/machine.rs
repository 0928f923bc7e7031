//! What the server does, whether by psql or by us: a temporary table has the units, and one function takes back one of them.
//!
//! All of a unit is done or nothing. A unit that cannot be done is tried again after the others, until none succeeds any more:
//! what refers to a row is to come after it, and a value that is to be unique after that which has it. What remains then is tried
//! together, with constraints that can wait until its end.
//!
//! A row is locked when it is found, so that what is true of it then stays so. If its DELETE, or an UPDATE of its key, would act
//! on rows that refer to it (ON DELETE CASCADE, SET NULL, SET DEFAULT), these rows are somebody else's, since those of the undone
//! transactions are gone by then: it is left as it is.

use archive_query::history::literal::name_of;

use super::collect::Former;
use super::statement::Step;
use super::undone::Undone;

/// Conditions of ours, beside those of constraints: a row is not as it was left; rows that refer to it would be acted on.
const NOT_SO: &str = "UNDO1";
const REFERRED: &str = "UNDO2";

/// The table of units, and the function that does one. `key` is a random word. The function goes with the session: a DROP would
/// be in the history of schema changes.
pub fn preparation(key: &str, has_triggers: bool) -> [String; 2] {
    let table = format!(
        "CREATE TEMPORARY TABLE undo_{key} (unit pg_catalog.int8 PRIMARY KEY, acts pg_catalog.text[], finds pg_catalog.text[], \
         alike pg_catalog.text[], counts pg_catalog.int8[], changed pg_catalog.text[], conflicts pg_catalog.text[], \
         rows pg_catalog.text[], is_open pg_catalog.bool DEFAULT true, is_refused pg_catalog.bool DEFAULT false, \
         step pg_catalog.int4, said pg_catalog.text) ON COMMIT DROP"
    );
    // Actions of foreign keys are triggers.
    let actions = if has_triggers { "true" } else { "false" };
    let function = format!(
        "CREATE FUNCTION pg_temp.undo_{key}_unit(u record) RETURNS pg_catalog.void LANGUAGE plpgsql AS $f{key}$ \
         DECLARE found_row record; place record; count pg_catalog.int8; reference record; is_there pg_catalog.bool; \
         BEGIN FOR i IN 1 .. pg_catalog.array_length(u.acts, 1) LOOP \
           IF u.finds[i] IS NULL THEN EXECUTE u.acts[i]; GET DIAGNOSTICS count = ROW_COUNT; \
           ELSE \
             count := 0; \
             FOR found_row IN EXECUTE u.finds[i] LOOP place := found_row; count := count OPERATOR(pg_catalog.+) 1; END LOOP; \
             IF count OPERATOR(pg_catalog.>) 1 THEN RAISE EXCEPTION USING MESSAGE = pg_catalog.concat(u.rows[i], \
               ' is several rows: its key is not unique there'); END IF; \
             IF count OPERATOR(pg_catalog.=) 0 THEN RAISE EXCEPTION USING ERRCODE = '{NOT_SO}', MESSAGE = i::pg_catalog.text; END IF; \
             FOR reference IN {REFERENCES} LOOP \
               EXIT WHEN NOT {actions}; \
               EXECUTE reference.query INTO is_there USING place.ctid, place.tableoid; \
               IF is_there THEN RAISE EXCEPTION USING ERRCODE = '{REFERRED}', MESSAGE = pg_catalog.concat( \
                 'rows of ', reference.name, ' refer to it, which would be deleted or changed with it'); END IF; \
             END LOOP; \
             EXECUTE pg_catalog.concat(u.acts[i], ' WHERE ctid OPERATOR(pg_catalog.=) $1 AND tableoid OPERATOR(pg_catalog.=) $2') \
               USING place.ctid, place.tableoid; \
             GET DIAGNOSTICS count = ROW_COUNT; \
           END IF; \
           IF count OPERATOR(pg_catalog.=) 0 THEN RAISE EXCEPTION USING ERRCODE = '{NOT_SO}', MESSAGE = i::pg_catalog.text; END IF; \
         END LOOP; END $f{key}$"
    );
    [table, function]
}

/// Foreign keys to the row's table whose actions change rows: a query each, whether there are any but the row itself.
const REFERENCES: &str = "SELECT c.conrelid::pg_catalog.regclass::pg_catalog.text AS name, pg_catalog.format( \
      'SELECT EXISTS (SELECT FROM %I.%I AS c, ONLY %I.%I AS p WHERE p.ctid OPERATOR(pg_catalog.=) $1 AND \
        p.tableoid OPERATOR(pg_catalog.=) $2 AND NOT (c.ctid OPERATOR(pg_catalog.=) $1 AND c.tableoid OPERATOR(pg_catalog.=) $2) \
        AND %s)', cn.nspname, cc.relname, pn.nspname, pc.relname, ( \
          SELECT pg_catalog.string_agg(pg_catalog.format('p.%I OPERATOR(%I.%s) c.%I', pa.attname, n.nspname, o.oprname, ca.attname), ' AND ') \
          FROM ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey), pg_catalog.unnest(c.conpfeqop)) AS k (own, other, operator) \
          JOIN pg_catalog.pg_attribute AS pa ON pa.attrelid OPERATOR(pg_catalog.=) c.confrelid AND pa.attnum OPERATOR(pg_catalog.=) k.other \
          JOIN pg_catalog.pg_attribute AS ca ON ca.attrelid OPERATOR(pg_catalog.=) c.conrelid AND ca.attnum OPERATOR(pg_catalog.=) k.own \
          JOIN pg_catalog.pg_operator AS o ON o.oid OPERATOR(pg_catalog.=) k.operator \
          JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace)) AS query \
    FROM pg_catalog.pg_constraint AS c \
    JOIN pg_catalog.pg_class AS cc ON cc.oid OPERATOR(pg_catalog.=) c.conrelid \
    JOIN pg_catalog.pg_namespace AS cn ON cn.oid OPERATOR(pg_catalog.=) cc.relnamespace \
    JOIN pg_catalog.pg_class AS pc ON pc.oid OPERATOR(pg_catalog.=) c.confrelid \
    JOIN pg_catalog.pg_namespace AS pn ON pn.oid OPERATOR(pg_catalog.=) pc.relnamespace \
    WHERE c.contype OPERATOR(pg_catalog.=) 'f' AND c.confrelid OPERATOR(pg_catalog.=) place.tableoid AND CASE \
      WHEN u.changed[i] IS NULL THEN pg_catalog.strpos('cnd', c.confdeltype::pg_catalog.text) OPERATOR(pg_catalog.>) 0 \
      ELSE pg_catalog.strpos('cnd', c.confupdtype::pg_catalog.text) OPERATOR(pg_catalog.>) 0 AND EXISTS ( \
        SELECT FROM pg_catalog.pg_attribute AS a WHERE a.attrelid OPERATOR(pg_catalog.=) c.confrelid \
          AND a.attnum OPERATOR(pg_catalog.=) ANY (c.confkey) \
          AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (u.changed[i]::pg_catalog.text[])) END";

/// What is undone of a row, and how.
type One<'a> = (&'a Undone, Step);

/// A unit, as a row of the table: an INSERT on one line. Texts are in literals whose tag has the key: psql neither counts nor
/// substitutes anything there. `shown` makes a message what the text may contain.
pub fn unit(
    key: &str,
    number: usize,
    unit: &[(&Undone, Step)],
    tables: &[Former],
    shown: &dyn Fn(String) -> String,
) -> Vec<u8> {
    let literal = |text: &[u8]| {
        let tag = format!("$s{key}$");
        [tag.as_bytes(), text, tag.as_bytes()].concat()
    };
    let array = |type_: &str, of: &dyn Fn(&One<'_>) -> Option<Vec<u8>>| {
        let texts = unit
            .iter()
            .map(|step| of(step).unwrap_or_else(|| b"NULL".to_vec()));
        let texts: Vec<Vec<u8>> = texts.collect();
        let end = format!("]::pg_catalog.{type_}[]");
        [b"ARRAY[", &texts.join(&b", "[..])[..], end.as_bytes()].concat()
    };
    let lost = unit.iter().position(|(undone, _)| undone.is_gone);
    let state = match lost {
        Some(at) => format!("false, {}", at + 1),
        None => "true, NULL".to_owned(),
    };
    let values = [
        array("text", &|(_, step)| Some(literal(&step.act))),
        array("text", &|(_, step)| step.find.as_deref().map(literal)),
        array("text", &|(undone, step)| {
            undone.alike.and(step.alike.as_deref()).map(literal)
        }),
        array("int8", &|(undone, _)| {
            undone.alike.map(|alike| alike.to_string().into_bytes())
        }),
        array("text", &|(_, step)| {
            let names = &step.changed;
            (!names.is_empty()).then(|| literal(&of_names(names)))
        }),
        array("text", &|(undone, _)| {
            Some(literal(shown(undone.not_taken_back(tables)).as_bytes()))
        }),
        array("text", &|(undone, _)| {
            Some(literal(shown(undone.row(tables)).as_bytes()))
        }),
        state.into_bytes(),
    ];
    let head = format!(
        "INSERT INTO pg_temp.undo_{key} (unit, acts, finds, alike, counts, changed, conflicts, rows, is_open, step) VALUES ({number}, "
    );
    [head.as_bytes(), &values.join(&b", "[..])[..], b")"].concat()
}

/// An array of names, as its text.
fn of_names(names: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"{".to_vec();
    for (at, name) in names.iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
        for byte in name {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }
    out.push(b'}');
    out
}

/// Ends it if the table has columns that the files do not know: what is in them would be lost.
pub fn columns(key: &str, former: &Former) -> Vec<u8> {
    let added = former.table.added.iter().map(|(column, _)| column);
    let all = former.table.columns.iter().chain(added);
    let names: Vec<Vec<u8>> = all
        .map(|column| name_of(&column.name).into_owned())
        .collect();
    let start = format!(
        "DO $r{key}$ DECLARE name pg_catalog.text; BEGIN SELECT a.attname INTO name FROM pg_catalog.pg_attribute AS a \
         WHERE a.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($s{key}$"
    );
    let between = format!(
        "$s{key}$) AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped AND a.attgenerated OPERATOR(pg_catalog.=) '' \
         AND NOT a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($s{key}$"
    );
    let end = format!(
        "$s{key}$::pg_catalog.text[]) LIMIT 1; IF name IS DISTINCT FROM NULL THEN RAISE EXCEPTION USING MESSAGE = pg_catalog.concat( \
         'column ', name, ' of a table is not in the files, so that what is in it would be lost'); END IF; END $r{key}$"
    );
    let parts = [
        start.as_bytes(),
        &former.table.name,
        between.as_bytes(),
        &of_names(&names),
        end.as_bytes(),
    ];
    parts.concat()
}

/// All units of the table, one after the other.
pub fn work(key: &str) -> String {
    // Those that are INITIALLY DEFERRED would tell at the end only, and then nothing were done.
    const AT_ONCE: &str =
        "FOR u IN SELECT DISTINCT pg_catalog.format('SET CONSTRAINTS %I.%I IMMEDIATE', n.nspname, c.conname) AS query \
         FROM pg_catalog.pg_constraint AS c JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.connamespace \
         WHERE c.condeferred AND c.contype IN ('f', 'p', 'u', 'x') LOOP EXECUTE u.query; END LOOP;";
    const REFUSED: &str = "SQLSTATE 'UNDO2' OR integrity_constraint_violation OR generated_always";
    let table = format!("pg_temp.undo_{key}");
    let one = "WHERE unit OPERATOR(pg_catalog.=) u.unit";
    format!(
        "DO $r{key}$ DECLARE u record; is_so pg_catalog.bool; count pg_catalog.int8; is_going_on pg_catalog.bool := true; BEGIN {AT_ONCE} \
         FOR u IN SELECT * FROM {table} WHERE is_open ORDER BY unit LOOP \
           FOR i IN 1 .. pg_catalog.array_length(u.acts, 1) LOOP \
             CONTINUE WHEN u.alike[i] IS NULL; \
             EXECUTE u.alike[i] INTO count; \
             IF count OPERATOR(pg_catalog.<>) u.counts[i] THEN UPDATE {table} SET is_open = false, step = i {one}; EXIT; END IF; \
           END LOOP; \
         END LOOP; \
         WHILE is_going_on LOOP \
           is_going_on := false; \
           FOR u IN SELECT * FROM {table} WHERE is_open ORDER BY unit LOOP \
             BEGIN \
               PERFORM pg_temp.undo_{key}_unit(u); \
               UPDATE {table} SET is_open = false, is_refused = false, step = NULL, said = NULL {one}; \
               is_going_on := true; \
             EXCEPTION \
               WHEN SQLSTATE '{NOT_SO}' THEN UPDATE {table} SET step = SQLERRM::pg_catalog.int4, is_refused = false {one}; \
               WHEN {REFUSED} THEN UPDATE {table} SET step = NULL, is_refused = true, said = SQLERRM {one}; \
             END; \
           END LOOP; \
         END LOOP; \
         BEGIN \
           SET CONSTRAINTS ALL DEFERRED; \
           FOR u IN SELECT * FROM {table} WHERE is_open AND is_refused ORDER BY unit LOOP \
             PERFORM pg_temp.undo_{key}_unit(u); \
             UPDATE {table} SET is_open = false, is_refused = false, step = NULL, said = NULL {one}; \
           END LOOP; \
           SET CONSTRAINTS ALL IMMEDIATE; \
         EXCEPTION WHEN SQLSTATE '{NOT_SO}' OR {REFUSED} THEN NULL; END; \
         SET CONSTRAINTS ALL IMMEDIATE; \
         END $r{key}$"
    )
}

/// A warning for each unit that was left as it is.
pub fn warnings(key: &str) -> String {
    format!(
        "DO $r{key}$ DECLARE u record; BEGIN FOR u IN SELECT * FROM pg_temp.undo_{key} WHERE step IS DISTINCT FROM NULL OR is_refused \
         ORDER BY unit LOOP RAISE WARNING USING MESSAGE = CASE WHEN u.is_refused THEN pg_catalog.concat( \
         pg_catalog.array_to_string(u.rows, ', '), ': ', u.said) ELSE u.conflicts[u.step] END; END LOOP; END $r{key}$"
    )
}
