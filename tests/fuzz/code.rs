//! Functions, triggers, rules and DO blocks: rows and DDL that no client statement names.

use super::making::Making;

/// Every session's first schema has a table `log (n, what, at)`, which code writes to.
fn log(making: &Making) -> Option<String> {
    Some(format!("{}.log", making.catalog.schemas.first()?))
}

pub fn create_function(making: &mut Making) -> Option<Vec<String>> {
    let log = log(making)?;
    let (schema, name) = (making.own_schema(), making.new_name("f"));
    let name = making.say(&schema, &name);
    let mark = making.mark.clone();
    Some(vec![match making.dice.below(4) {
        0 => format!(
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN
               INSERT INTO {log} (what) VALUES (TG_OP || ' it''s');
               RETURN coalesce(NEW, OLD);
             END $body$"
        ),
        1 => format!(
            "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $body$ BEGIN
               CREATE TABLE IF NOT EXISTS {schema}.by_trigger_{mark} (a serial, b text DEFAULT 'x');
               EXECUTE 'INSERT INTO {schema}.by_trigger_{mark} DEFAULT VALUES';
               EXECUTE format('COMMENT ON TABLE {schema}.by_trigger_{mark} IS %L', TG_OP);
               RETURN coalesce(NEW, OLD);
             END $body$"
        ),
        2 => format!("CREATE FUNCTION {name}(i integer) RETURNS integer LANGUAGE sql AS 'SELECT i + 1; -- ; $$'"),
        _ => format!(
            "CREATE FUNCTION {name}(nr integer) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
               EXECUTE format('CREATE TABLE {schema}.by_function_{mark}_%s AS SELECT random() AS r, %s AS n', nr, nr);
               EXECUTE format('ALTER TABLE {schema}.by_function_{mark}_%s ADD at timestamptz DEFAULT clock_timestamp()', nr);
               INSERT INTO {log} (what) VALUES ('called');
             END $$"
        ),
    }])
}

pub fn call_function(making: &mut Making) -> Option<Vec<String>> {
    let functions = making.catalog.functions.iter();
    let callable: Vec<_> = functions.filter(|f| f.result != "trigger").collect();
    let name = making.dice.of(&callable)?.name.clone();
    Some(vec![format!(
        "SELECT {name}({})",
        making.dice.below(100_000)
    )])
}

pub fn change_function(making: &mut Making) -> Option<Vec<String>> {
    let function = making.dice.of(&making.catalog.functions)?.clone();
    let signature = format!("{}({})", function.name, function.arguments);
    let new = making.new_name("f");
    Some(vec![match making.dice.below(5) {
        0 => format!("DROP FUNCTION {signature} CASCADE"),
        1 => format!("ALTER FUNCTION {signature} SET search_path = pg_catalog"),
        2 => format!("COMMENT ON FUNCTION {signature} IS 'it''s'"),
        3 => format!("ALTER FUNCTION {signature} OWNER TO fuzz_a"),
        _ => format!("ALTER FUNCTION {signature} RENAME TO {new}"),
    }])
}

pub fn create_trigger(making: &mut Making) -> Option<Vec<String>> {
    let table =
        making.own_table(|r| !r.is_temporary() && r.name != "log" && r.triggers.len() < 2)?;
    let functions = making.catalog.functions.iter();
    let triggers: Vec<_> = functions.filter(|f| f.result == "trigger").collect();
    let function = making.dice.of(&triggers)?.name.clone();
    let (name, table) = (making.new_name("tr"), making.name_of(&table));
    let event = making
        .dice
        .word(&["INSERT", "UPDATE", "DELETE", "INSERT OR UPDATE"]);
    let each = making.dice.word(&["ROW", "STATEMENT"]);
    let what = format!("{event} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()");
    let mut made = vec![format!("CREATE TRIGGER {name} AFTER {what}")];
    if making.dice.percent(25) {
        let how = making
            .dice
            .word(&["ENABLE ALWAYS", "ENABLE REPLICA", "DISABLE"]);
        made.push(format!("ALTER TABLE {table} {how} TRIGGER {name}"));
    }
    Some(made)
}

pub fn change_trigger(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r| !r.triggers.is_empty())?;
    let (name, trigger) = (
        making.name_of(&table),
        making.dice.of(&table.triggers)?.clone(),
    );
    let new = making.new_name("tr");
    Some(vec![match making.dice.below(3) {
        0 => format!("DROP TRIGGER {trigger} ON {name}"),
        1 => format!("ALTER TABLE {name} ENABLE TRIGGER {trigger}"),
        _ => format!("ALTER TRIGGER {trigger} ON {name} RENAME TO {new}"),
    }])
}

pub fn create_rule(making: &mut Making) -> Option<Vec<String>> {
    let table = making.own_table(|r| r.kind == 'r' && !r.is_temporary() && r.name != "log")?;
    let (log, name) = (log(making)?, making.new_name("rule"));
    let table = making.name_of(&table);
    let event = making.dice.word(&["INSERT", "UPDATE", "DELETE"]);
    let mut made = vec![format!(
        "CREATE RULE {name} AS ON {event} TO {table} DO ALSO INSERT INTO {log} (what) VALUES ('rule')"
    )];
    // A rule stands in the way of MERGE and ON CONFLICT: most go again.
    if making.dice.percent(80) {
        made.push(format!("INSERT INTO {table} DEFAULT VALUES"));
        made.push(format!("DROP RULE {name} ON {table}"));
    }
    Some(made)
}

pub fn do_block(making: &mut Making) -> Option<Vec<String>> {
    let log = log(making)?;
    let (schema, mark) = (making.own_schema(), making.mark.clone());
    let times = making.dice.below(4) + 1;
    let undone = making.dice.word(&["", "RAISE 'undone';"]);
    Some(vec![format!(
        "DO $do$ DECLARE n int; BEGIN
           FOR n IN 1..{times} LOOP
             BEGIN
               EXECUTE format('CREATE TABLE {schema}.loop_{mark}_%s (a int PRIMARY KEY, b text)', n);
               EXECUTE format('INSERT INTO {schema}.loop_{mark}_%s SELECT i, repeat(''x'', i) FROM generate_series(1, %s * 10) i', n, n);
               IF n % 2 = 0 THEN EXECUTE format('DROP TABLE {schema}.loop_{mark}_%s', n); END IF;
               INSERT INTO {log} (what) VALUES ('loop ' || n);
               {undone}
             EXCEPTION WHEN raise_exception THEN
               INSERT INTO {log} (what) VALUES ('caught');
             END;
           END LOOP;
         END $do$"
    )])
}
