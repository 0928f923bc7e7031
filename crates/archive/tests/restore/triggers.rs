//! Triggers that fire always and event triggers: quiet during the replay, then as they were.

use crate::source::{ddl, Ddl, Part, Source, Statement};

#[test]
fn triggers_that_fire_always_are_quiet_and_then_as_they_were() {
    let mut source = Source::new(
        "CREATE TABLE public.a (id int PRIMARY KEY, x text);
         CREATE TABLE public.log (what text);
         CREATE TABLE public.p (id int) PARTITION BY RANGE (id);
         CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
           $$BEGIN INSERT INTO public.log VALUES (tg_name || ' ' || tg_table_name); RETURN NEW; END$$;
         CREATE TRIGGER always BEFORE INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.note();
         ALTER TABLE public.a ENABLE ALWAYS TRIGGER always;
         CREATE TRIGGER later AFTER INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.note();
         ALTER TABLE public.a ENABLE REPLICA TRIGGER later;
         CREATE TRIGGER \"gone T\" AFTER INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.note();
         ALTER TABLE public.a ENABLE ALWAYS TRIGGER \"gone T\";
         CREATE TRIGGER off AFTER INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.note();
         ALTER TABLE public.a ENABLE ALWAYS TRIGGER off;
         CREATE TRIGGER normal AFTER INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.note();
         CREATE TRIGGER clone AFTER INSERT ON public.p FOR EACH ROW EXECUTE FUNCTION public.note();
         ALTER TABLE public.p ENABLE ALWAYS TRIGGER clone;
         CREATE RULE noisy AS ON UPDATE TO public.a DO ALSO INSERT INTO public.log VALUES ('rule');
         ALTER TABLE public.a ENABLE ALWAYS RULE noisy;",
    );
    source.base("100:100:");
    // At the source the triggers fired and their rows stand in the log, as decoding gives them.
    let quiet: &[Part] = &[Statement("INSERT INTO public.a (id, x) VALUES (1, 'x');")];
    source.archive_only(100, quiet);
    let rows = "INSERT INTO public.log (what) VALUES ('always a');";
    source.archive_only(
        101,
        &[
            Statement(rows),
            Statement("UPDATE public.a SET x = 'y' WHERE id = 1;"),
        ],
    );
    source.cluster.psql(
        &source.database,
        "SET session_replication_role = replica;
        ALTER TABLE public.a DISABLE TRIGGER ALL; ALTER TABLE public.a DISABLE RULE noisy;
        INSERT INTO public.a VALUES (1, 'y'); INSERT INTO public.log VALUES ('always a');
        ALTER TABLE public.a ENABLE ALWAYS TRIGGER always;
        ALTER TABLE public.a ENABLE REPLICA TRIGGER later;
        ALTER TABLE public.a ENABLE ALWAYS TRIGGER \"gone T\";
        ALTER TABLE public.a ENABLE ALWAYS TRIGGER off;
        ALTER TABLE public.a ENABLE TRIGGER normal;
        ALTER TABLE public.a ENABLE ALWAYS RULE noisy;",
    );
    source.transaction(102, &[
        ddl("ALTER TABLE public.a ENABLE TRIGGER \"gone T\";"),
        ddl("ALTER TABLE public.a DISABLE TRIGGER off;"),
        ddl("CREATE TABLE public.p1 PARTITION OF public.p FOR VALUES FROM (1) TO (9);"),
        ddl("ALTER TABLE public.a RENAME TO \"b B\";"),
        ddl("CREATE TRIGGER fresh AFTER DELETE ON public.\"b B\" FOR EACH ROW EXECUTE FUNCTION public.note();\n\
             ALTER TABLE public.\"b B\" ENABLE ALWAYS TRIGGER fresh;"),
    ]);
    source.archive_only(
        103,
        &[
            Statement("INSERT INTO public.p1 (id) VALUES (1);"),
            Statement("INSERT INTO public.\"b B\" (id, x) VALUES (2, 'z');"),
            Statement("DELETE FROM public.\"b B\" WHERE id = 2;"),
        ],
    );
    source.cluster.psql(
        &source.database,
        "ALTER TABLE public.p1 DISABLE TRIGGER clone;
        INSERT INTO public.p1 VALUES (1); ALTER TABLE public.p1 ENABLE ALWAYS TRIGGER clone;",
    );
    let target = source.restore(&[]);
    source.assert_same(&target);
    let states = |database: &str| {
        source.cluster.psql(
            database,
            "SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger ORDER BY 1, 2",
        )
    };
    assert_eq!(states(&target), states(&source.database));
    assert!(
        states(&target).contains("p1|clone|A"),
        "{}",
        states(&target)
    );
    assert_eq!(
        source
            .cluster
            .psql(&target, "SELECT count(*) FROM public.log"),
        "1"
    );
}

#[test]
fn event_triggers_are_quiet_and_then_as_they_were() {
    let mut source = Source::new(
        "CREATE TABLE public.log (what text);
         CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql AS
           $$BEGIN INSERT INTO public.log VALUES (tg_tag); END$$;
         CREATE EVENT TRIGGER always ON ddl_command_end EXECUTE FUNCTION public.note();
         ALTER EVENT TRIGGER always ENABLE ALWAYS;
         CREATE EVENT TRIGGER normal ON ddl_command_end EXECUTE FUNCTION public.note();",
    );
    source.base("100:100:");
    let text = "CREATE TABLE public.made (id int);";
    source.archive_only(
        100,
        &[
            ddl(text),
            Statement("INSERT INTO public.log (what) VALUES ('CREATE TABLE');"),
        ],
    );
    source.cluster.psql(
        &source.database,
        format!("SET session_replication_role = replica; {text}"),
    );
    let event = |text| Ddl {
        command: "CREATE EVENT TRIGGER",
        role: "postgres",
        text,
    };
    source.transaction(
        101,
        &[
            event(
                "CREATE EVENT TRIGGER second ON ddl_command_start EXECUTE FUNCTION public.note();",
            ),
            event("ALTER EVENT TRIGGER second ENABLE REPLICA;"),
            event("ALTER EVENT TRIGGER always DISABLE;"),
        ],
    );
    source.archive_only(102, &[ddl("CREATE TABLE public.made_too (id int);")]);
    source.cluster.psql(
        &source.database,
        "CREATE TABLE public.made_too (id int); DELETE FROM public.log;
        INSERT INTO public.log VALUES ('CREATE TABLE')",
    );
    let target = source.restore(&[]);
    source.assert_same(&target);
}
